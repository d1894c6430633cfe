"""Check a file of conversations before training: report all malformed rows, missing files and long texts.

vjepa data check-conversations train.jsonl
"""

from collections.abc import Iterator
from pathlib import Path

from vjepa.data.manifest_files import ManifestError
from vjepa.errors import counted, require
from vjepa.language.conversation_files import Captions, announce_unread_keys, read_rows
from vjepa.language.conversations import Conversation


def problems(captions: Captions, longest: int) -> Iterator[tuple[int, str]]:
    """(row, problem) of every bad row; rows are counted from 0. longest: most characters of text in a row."""
    for i in range(len(captions)):
        try:
            problem = problem_of(captions.row(i), longest)
        except ManifestError as error:
            # The report names the row itself.
            problem = str(error).removeprefix(f"{captions.source}, row {i + 1}: ")
        if problem:
            yield i, problem


def problem_of(row: Conversation, longest: int) -> str:
    """What is wrong with a row that could be parsed; empty if nothing is."""
    missing = [str(media.path) for media in row.media if not media.path.is_file()]
    if missing:
        return f"there is no file {missing[0]}"
    length = sum(len(part) for turn in row.turns for part in turn.parts if isinstance(part, str))
    return f"{length} characters of text are too long, more than {longest}" if length > longest else ""


def check_conversations(file: Path, *, folder: Path | None = None, longest: int = 16_000) -> None:
    """Report every row that is malformed, too long, or whose media are missing.

    Args:
        file: .json, .jsonl or .parquet.
        folder: Folder that the media's paths are relative to, if not the file's folder.
        longest: Most characters of text in a row; about four make a token.

    Raises UserError if the file cannot be read, or if any row is bad.
    """
    require(longest > 0, f"--longest {longest} must be 1 character or more")
    # Not `read_captions`, which stops at the first malformed row.
    captions = read_rows(file, folder)
    bad = dict(problems(captions, longest))
    print(f"{file}: {counted(len(captions), 'row')}, {len(captions) - len(bad)} ok, {len(bad)} bad")
    for i, problem in bad.items():
        print(f"row {i + 1}: {problem}")
    announce_unread_keys(captions, [i for i in range(len(captions)) if i not in bad])
    require(not bad, f"{len(bad)} of {len(captions)} rows are bad")

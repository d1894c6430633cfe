"""Check."""

from collections.abc import Iterator
from pathlib import Path

from vjepa.data.manifest_files import ManifestError
from vjepa.errors import require
from vjepa.language.conversation_files import (
    Captions,
    read_rows,
)

# python -m vjepa check-conversations


def problems(captions: Captions, longest: int) -> Iterator[tuple[int, str]]:
    """(row, what is wrong with it) for every row with a problem."""
    for i in range(len(captions)):
        try:
            row = captions.row(i)
        except ManifestError as error:
            yield i, str(error).removeprefix(f"{captions.source}, row {i + 1}: ")
            continue
        missing = [str(media.path) for media in row.media if not media.path.is_file()]
        length = sum(len(part) for turn in row.turns for part in turn.parts if isinstance(part, str))
        if missing:
            yield i, f"there is no file {missing[0]}"
        elif length > longest:
            yield i, f"{length} characters of text are too long, more than {longest}"


def check_conversations(file: Path, *, folder: Path | None = None, longest: int = 16_000) -> None:
    """Report every row that is malformed, too long, or whose media are missing.

    Args:
        file: .json, .jsonl or .parquet.
        folder: What the media's paths are relative to, if not the file's folder.
        longest: Characters of text in a row; about four make a token.

    Raises UserError if the file cannot be read, or if any row is bad.
    """
    captions = read_rows(file, folder)
    bad = dict(problems(captions, longest))
    print(f"{file}: {len(captions)} rows, {len(captions) - len(bad)} ok, {len(bad)} bad")
    print("".join(f"row {i + 1}: {why}\n" for i, why in bad.items()), end="")
    require(not bad, f"{len(bad)} of {len(captions)} rows are bad")

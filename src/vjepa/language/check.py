"""Check."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversation_files import (
    Captions,
    read_rows,
)

# python -m vjepa.language.conversations check


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Exit status: 0 all rows are good, 1 some are bad, 2 the file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m vjepa.language.conversations", description=main.__doc__)
    commands = parser.add_subparsers(required=True)
    does = "report every row that is malformed, too long, or whose media are missing"
    one = commands.add_parser("check", help=does, description=does, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    one.add_argument("file", help=".json, .jsonl or .parquet")
    one.add_argument("--folder", type=Path, help="what the media's paths are relative to, if not the file's folder")
    one.add_argument("--longest", type=int, default=16_000, help="characters of text in a row; about four make a token")
    options = parser.parse_args(arguments)
    try:
        captions = read_rows(options.file, options.folder)
    except ManifestError as error:
        one.exit(2, f"{error}\n")
    bad = dict(problems(captions, options.longest))
    print(f"{options.file}: {len(captions)} rows, {len(captions) - len(bad)} ok, {len(bad)} bad")
    print("".join(f"row {i + 1}: {why}\n" for i, why in bad.items()), end="")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

"""Files of conversations: .json, .jsonl and .parquet. The module `conversations` describes their rows.

    captions = read_captions("train.jsonl")
    captions.row(7).answer

A file is read whole, each row as one JSON text; `conversation_rows` turns a row into a Conversation when it
is asked for.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from jaxtyping import Int64

from vjepa.data.digest import table_digest
from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversation_rows import parse_row
from vjepa.language.conversations import Conversation


class Captions:
    """Conversations of one file.

    Rows are JSON texts in one Arrow array: processes forked from this one share it without copying.

    Args:
        source: The file that the rows were read from.
        folder: Folder that the paths of the media are relative to.
        rows: One JSON text for each conversation.
    """

    def __init__(self, source: Path, folder: Path, rows: pa.Array) -> None:
        self.source = source
        self.folder = folder
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, i: int) -> Conversation:
        """Conversation `i`, counted from 0. Raises ManifestError, which counts the row from 1."""
        try:
            return parse_row(json.loads(self._rows[i].as_py()), self.folder)
        except ManifestError as error:
            raise ManifestError(f"{self.source}, row {i + 1}: {error}") from error

    @property
    def digest(self) -> str:
        """A digest of all rows."""
        return table_digest(pa.table({"rows": self._rows}))

    @property
    def lengths(self) -> Int64[np.ndarray, "rows"]:
        """Characters of each row, a cheap measure of how long its conversation is."""
        return np.asarray(pa.compute.utf8_length(self._rows)).astype(np.int64)


def read_captions(path: str | Path, folder: str | Path | None = None) -> Captions:
    """Read .json, .jsonl or .parquet, and check every row. Raises ManifestError on the first malformed one.

    folder: the folder that the paths of the media are relative to, if not the file's folder.
    """
    captions = read_rows(path, folder)
    # Parsed and dropped. If they were kept, every forked process would copy them as it counts references.
    for i in range(len(captions)):
        captions.row(i)
    return captions


def read_rows(path: str | Path, folder: str | Path | None = None) -> Captions:
    """Like `read_captions`, but without a check of the rows."""
    source = Path(path)
    try:
        rows = list(json_texts(source))
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each conversation")
    # A large string array has no limit of 2 GiB for all texts together.
    return Captions(source, Path(folder) if folder else source.parent, pa.array(rows, pa.large_string()))


def json_texts(source: Path) -> Iterator[str]:
    """One JSON text for each row of the file. Raises ManifestError for another kind of file."""
    ending = source.suffix.lower()
    if ending == ".parquet":
        for number, row in enumerate(pa.parquet.read_table(source).to_pylist(), 1):
            # A table gives every row every column. Null stands for a column that the row does not have.
            yield json.dumps(without_nulls(row, f"{source}, row {number}"), default=name_of_type)
    elif ending == ".jsonl":
        yield from (line for line, _ in json_lines(source))
    elif ending == ".json":
        rows = parse_json(read_text(source), str(source))
        if not isinstance(rows, list):
            raise ManifestError(f"{source}: holds a {type(rows).__name__}; expected a list of conversations")
        yield from map(json.dumps, rows)
    else:
        raise ManifestError(
            f"{source}: conversations are kept in .json, .jsonl or .parquet, not in {ending!r}"
        )


def json_lines(source: Path) -> Iterator[tuple[str, object]]:
    """(text, value) of each line of a JSONL file that is not blank. Raises ManifestError."""
    # Not `splitlines`: a text may hold other line separators, such as U+2028, which do not end a row.
    for number, line in enumerate(read_text(source).split("\n"), 1):
        if line.strip():
            yield line, parse_json(line, f"{source}, line {number}")


def read_text(source: Path) -> str:
    """The text of a file, without a byte order mark. Raises ManifestError."""
    try:
        return source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error


def parse_json(text: str, place: str):
    """The value of a JSON text. Raises ManifestError that names the place."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ManifestError(f"{place}: not JSON: {error}") from error


def without_nulls(row: dict, place: str) -> dict:
    """A table's row without its empty columns, and with lists that are kept as JSON texts parsed."""
    values = {key: value for key, value in row.items() if value is not None}
    for key in ("conversations", "messages", "options"):
        if isinstance(values.get(key), str):
            values[key] = parse_json(values[key], f"{place}, {key}")
    return values


def name_of_type(value: object) -> str:
    """A text in place of a table's value that JSON cannot hold, such as bytes or a time."""
    return f"<{type(value).__name__}>"

"""Files of conversations: .json, .jsonl and .parquet. The module `conversations` describes their rows.

    captions = read_captions("train.jsonl")
    captions.row(7).answer

A file is read whole, each row as one JSON text; `conversation_rows` turns a row into a Conversation when it
is asked for.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
from jaxtyping import Int64

from vjepa.data.array_files import read_table
from vjepa.data.digest import table_digest
from vjepa.data.manifest_files import ManifestError
from vjepa.data.text_files import read_text
from vjepa.errors import announce
from vjepa.language.conversation_rows import parse_row
from vjepa.language.conversations import Conversation
from vjepa.language.row_keys import misspelt, unread_keys, unread_line

ENDINGS = (".json", ".jsonl", ".ndjson")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes each half of a character such as an emoji, which is good only beside the other half."""

MOST_KEYS = 1000
"""Keys of a row that are looked through for a typing error."""


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
        text = self._rows[i].as_py()
        row = json.loads(text)
        try:
            if SURROGATE.search(text):
                check_characters(row)
            return parse_row(row, self.folder)
        except ManifestError as error:
            hint = misspelt(first_keys(row))
            raise ManifestError(f"{self.source}, row {i + 1}: {error}{hint}") from error

    def keys_and_values(self, i: int) -> object:
        """What the file holds for conversation `i`, not parsed."""
        return json.loads(self._rows[i].as_py())

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

    A note names the keys that are not read.

    folder: the folder that the paths of the media are relative to, if not the file's folder.
    """
    captions = read_rows(path, folder)
    # Parsed and dropped. If they were kept, every forked process would copy them as it counts references.
    for i in range(len(captions)):
        captions.row(i)
    announce_unread_keys(captions, range(len(captions)))
    return captions


def announce_unread_keys(captions: Captions, rows: Iterable[int]) -> None:
    """Note the keys of these rows that nothing reads, if there are any. All of the rows can be parsed."""
    counts = Counter(key for i in rows for key in unread_keys(captions.keys_and_values(i)))
    if counts:
        announce(unread_line(captions.source, counts))


def read_rows(path: str | Path, folder: str | Path | None = None) -> Captions:
    """Like `read_captions`, but without a check of the rows."""
    source = Path(path)
    try:
        rows = list(json_texts(source))
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise ManifestError(f"{source}: cannot be read: {error}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no rows; expected one for each conversation")
    # A large string array has no limit of 2 GiB for all texts together.
    return Captions(source, Path(folder) if folder else source.parent, pa.array(rows, pa.large_string()))


def json_texts(source: Path) -> Iterator[str]:
    """One JSON text for each row of the file. Raises ManifestError for another kind of file."""
    ending = source.suffix.lower()
    if ending == ".parquet":
        for number, row in enumerate(read_table(source).to_pylist(), 1):
            # A table gives every row every column. Null stands for a column that the row does not have.
            yield json.dumps(without_nulls(row, f"{source}, row {number}"), default=name_of_type)
    elif ending in ENDINGS:
        yield from text_rows(read_text(source), source)
    else:
        found = "a folder" if source.is_dir() else repr(ending)
        raise ManifestError(f"{source}: conversations are kept in .json, .jsonl or .parquet, not in {found}")


def text_rows(text: str, source: Path) -> Iterator[str]:
    """The same for a text, which may be a list, JSON lines or a single object, whatever the file's ending."""
    if is_json_lines(text):
        yield from (line for line, _ in json_lines(text, source))
    elif text.strip():
        value = parse_json(text, str(source))
        yield from map(json.dumps, value) if isinstance(value, list) else [text]


def read_json(source: Path) -> object:
    """The value of a JSON file; a list of values where each line has one. Raises ManifestError."""
    text = read_text(source)
    if is_json_lines(text):
        return [value for _, value in json_lines(text, source)]
    return parse_json(text, str(source))


def is_json_lines(text: str) -> bool:
    """Whether the first line is a whole value, and others follow."""
    first, _, others = text.lstrip().partition("\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return bool(others.strip())


def json_lines(text: str, source: Path) -> Iterator[tuple[str, object]]:
    """(text, value) of each line that is not blank. Raises ManifestError."""
    # Not `splitlines`: a text may hold other line separators, such as U+2028, which do not end a row.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield line, parse_json(line, f"{source}, line {number}")


def parse_json(text: str, place: str) -> object:
    """The value of a JSON text. Raises ManifestError that names the place."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ManifestError(f"{place}: lists within lists without an end; expected rows") from error
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        reason = f"not JSON: {error.msg} ({line}column {error.colno}){advice(text, error)}"
        raise ManifestError(f"{place}: {reason}") from error
    except ValueError as error:  # Python's limit is 4300 digits
        raise ManifestError(f"{place}: a number of thousands of digits; expected rows; correct it") from error


def advice(text: str, error: json.JSONDecodeError) -> str:
    """What the mistake in a JSON text most likely is, as the end of a sentence; empty if nothing tells."""
    if error.msg == "Extra data":
        return "; expected one row a line and nothing between them, or one list of rows"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return "; is its end cut off?"
    return "; is there a comma too many before it?" if text[: error.pos].rstrip().endswith(",") else ""


def first_keys(row: object) -> object:
    """The row without its keys after the first ones, all of which would take minutes to compare."""
    return dict(islice(row.items(), MOST_KEYS)) if isinstance(row, dict) else row


def check_characters(row: object) -> None:
    """Raise ManifestError if a text of the row cannot be written, because half of a character is missing."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ManifestError(
            f"holds half of a character ({half!r}), as where an emoji was cut; remove it"
        ) from error


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

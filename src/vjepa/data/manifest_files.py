"""Reads manifest files of every format into an Arrow table; a mistake in one becomes a single sentence.

    table = typed_table(source, read_table(source))

`read_table` reads a folder, a list, a CSV, a TSV or a Parquet file; `typed_table` turns its text into numbers
and checks each value. Both work on whole columns: no loop over rows runs in Python, so millions of rows are
read in seconds.
"""

import csv
import io
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from vjepa.errors import UserError

VIDEO_SUFFIXES = (
    *(".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg"),
    *(".mpeg", ".ts", ".flv", ".wmv", ".3gp", ".ogv", ".gif"),
)
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
NUMBERS = {"label": pa.int64(), "start": pa.float64(), "end": pa.float64(), "duration": pa.float64()}
COLUMNS = ("path", *NUMBERS)
OTHER_NAMES_OF_PATH = (
    *("filename", "file", "file_name", "filepath", "file_path"),
    *("video", "video_path", "paths", "name"),
)
"""What other people call the column `path`."""


class ManifestError(UserError):
    """A manifest that cannot be read. One sentence: which file and line, what is wrong, what to do."""


def read_table(source: Path) -> pa.Table:
    """The columns of a manifest as they are in the file. Raises ManifestError, OSError or ArrowException."""
    suffix = source.suffix.lower()
    if source.is_dir():
        return _read_folder(source)
    if suffix == ".parquet":
        return _read_parquet(source)
    if suffix in (".csv", ".tsv", ".txt"):
        return _read_text(source, suffix)
    raise ManifestError(
        f"{source}: a manifest is a folder or ends in .csv, .tsv, .txt or .parquet, not in {suffix!r}"
    )


def _read_folder(source: Path) -> pa.Table:
    paths = []
    for folder, folders, files in os.walk(source):
        # Pruned in place: os.walk then leaves hidden folders out.
        folders[:] = [name for name in folders if not name.startswith(".")]
        videos = [
            name for name in files if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith(".")
        ]
        paths += [os.path.relpath(os.path.join(folder, name), source) for name in videos]

    if not paths:
        looked_for = " ".join(VIDEO_SUFFIXES)
        raise ManifestError(f"{source}: no videos in this folder or below; looked for {looked_for}")
    try:
        return pa.table({"path": pa.array(sorted(paths), pa.large_string())})
    except UnicodeEncodeError as error:
        raise ManifestError(f"{source}: the name {error.object!r} is not UTF-8; rename it") from error


def _read_parquet(source: Path) -> pa.Table:
    table = pa.parquet.read_table(source)
    _check_header(source, table.column_names)
    kind = table.schema.field("path").type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    if not is_text:
        raise ManifestError(f"{source}: column path holds {kind}; expected text")
    return table.set_column(table.column_names.index("path"), "path", table["path"].cast(pa.large_string()))


def _read_text(source: Path, suffix: str) -> pa.Table:
    data = source.read_bytes().removeprefix(b"\xef\xbb\xbf")  # the byte order mark that Windows writes
    try:
        first_line = data.decode().lstrip("\r\n").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{source}, line {line}: not UTF-8; save the file in that encoding") from error
    if not data.strip():
        raise ManifestError(f"{source}: the file is empty; expected one line for each video")

    # The lists of the public V-JEPA code end in .csv, but have no header and a space between path and label.
    if suffix == ".txt" or (suffix == ".csv" and re.search(r"[^,\s]\s+-?\d+$", first_line)):
        return _read_list(source, data)
    return _read_columns(source, data, first_line, "\t" if suffix == ".tsv" else ",")


def _read_list(source: Path, data: bytes) -> pa.Table:
    """Lines of `path label`, or of a path alone."""
    # No text holds the separator \x01, so that each line is one value, quotes and commas included.
    table = _parse(data, pa.csv.ParseOptions(delimiter="\x01", quote_char=False), ["line"])
    lines = pc.utf8_trim_whitespace(table["line"])
    # Greedy: the last number is the label, and what stands before it may hold spaces and numbers.
    parts = pc.extract_regex(lines, r"^(?P<path>.*\S)\s+(?P<label>-?\d+)$")
    without_label = pc.is_null(parts)

    suffixes = "|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES + IMAGE_SUFFIXES)
    is_media = pc.match_substring_regex(lines, f"(?:{suffixes})$", ignore_case=True)
    wrong = pc.and_(without_label, pc.invert(is_media))
    expected = "expected a path, a space and a whole number, or the path of a video alone"
    _check_rows(source, wrong, lines, expected + "; got {!r}")

    path = pc.if_else(without_label, lines, pc.struct_field(parts, "path"))
    return pa.table({"path": path, "label": pc.struct_field(parts, "label")})


def _read_columns(source: Path, data: bytes, first_line: str, delimiter: str) -> pa.Table:
    names = next(csv.reader([first_line], delimiter=delimiter))
    _check_header(source, names)
    try:
        return _parse(data, pa.csv.ParseOptions(delimiter=delimiter), names)
    except pa.ArrowInvalid as error:
        # Arrow does not say which line is wrong. Python's slower reader does.
        rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
        wrong = next((row for row in rows if row and len(row) != len(names)), None)
        if wrong is None:
            raise
        reason = f"{len(wrong)} values, but the header names {len(names)} columns"
        raise ManifestError(
            f"{source}, line {rows.line_num}: {reason}; quote values that hold the separator"
        ) from error


def _parse(data: bytes, options: pa.csv.ParseOptions, names: list[str]) -> pa.Table:
    """All columns as text: a type guessed from the first rows is an error in the middle of the file."""
    # With names given, Arrow takes the first line for a row: a list has no header.
    read = pa.csv.ReadOptions(column_names=names if names == ["line"] else None)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()))
    return pa.csv.read_csv(pa.BufferReader(data), read, options, types)


def _check_header(source: Path, names: list[str]) -> None:
    """Raise ManifestError without a column `path`, or if a known column is spelled in another way."""
    if len(set(names)) < len(names):
        raise ManifestError(f"{source}: two columns have the same name among {names}; rename one")

    unknown = {name.strip().lower(): name for name in names if name not in COLUMNS}
    for column in COLUMNS:
        if column in unknown and column not in names:
            raise ManifestError(f"{source}: column {unknown[column]!r} must be spelled {column!r}")
    if "path" in names:
        return

    meant = next((unknown[name] for name in OTHER_NAMES_OF_PATH if name in unknown), None)
    if meant:
        advice = f"rename the column {meant!r} to 'path'"
    elif any("/" in name or name.lower().endswith(VIDEO_SUFFIXES + IMAGE_SUFFIXES) for name in names):
        advice = "that looks like data: put a header in front, such as path,label"
    else:
        advice = "the header must name it"
    raise ManifestError(f"{source}: no column 'path', only {names}; {advice}")


def typed_table(source: Path, table: pa.Table) -> pa.Table:
    """The table with numbers in place of text, and nulls in columns that the file does not have.

    Raises ManifestError for the first value that is not as expected."""
    for name, kind in NUMBERS.items():
        if name in table.column_names:
            column = _to_numbers(source, table[name], name, kind)
            table = table.set_column(table.column_names.index(name), name, column)
        elif name != "duration":
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    label = pc.fill_null(table["label"], -1)
    table = table.set_column(table.column_names.index("label"), "label", label)

    path = table["path"]
    _check_rows(source, pc.equal(pc.fill_null(pc.utf8_trim_whitespace(path), ""), ""), path, "path is empty")
    _check_rows(source, pc.less(label, -1), label, "label is {}; expected 0 or more, or -1 for none")
    for name in ("start", "end"):
        seconds = table[name]
        wrong = pc.invert(pc.and_(pc.is_finite(seconds), pc.greater_equal(seconds, 0)))
        _check_rows(source, wrong, seconds, name + " is {}; expected seconds, 0 or more")
    end = table["end"]
    not_after_start = pc.less_equal(end, pc.fill_null(table["start"], 0.0))
    _check_rows(source, not_after_start, end, "end is {}, which is not after start; both are seconds")
    return table


def _to_numbers(source: Path, column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    if _are_numbers(column, kind):
        return _cast(column, kind)

    # Arrow does not say which row is wrong. Bisect: the rows before `good` are numbers, those before `bad`
    # are not all.
    good = 0
    bad = len(column)
    while bad - good > 1:
        middle = (good + bad) // 2
        if _are_numbers(column[good:middle], kind):
            good = middle
        else:
            bad = middle
    expected = "a whole number" if kind == pa.int64() else "a number"
    raise _row_error(source, good, column, name + " is {!r}; expected " + expected + ", or nothing")


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Through float: pandas writes 3.0 where other labels are missing."""
    return column.cast(pa.float64()).cast(kind)


def _are_numbers(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        _cast(column, kind)
    except pa.ArrowException:
        return False
    return True


def _check_rows(source: Path, wrong: pa.Array | pa.ChunkedArray, values: pa.ChunkedArray, words: str) -> None:
    """Raise ManifestError for the first row that is wrong, if any. `words` is a format of its value."""
    # A comparison with a missing value is null, and a value may be missing.
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        raise _row_error(source, row, values, words)


def _row_error(source: Path, row: int, values: pa.ChunkedArray, words: str) -> ManifestError:
    location = row_locations(source, len(values))[row]
    return ManifestError(f"{source}, {location}: {words.format(values[row].as_py())}")


def row_locations(source: Path, rows: int) -> list[str]:
    """Where each row stands in its source: `line 3`, or `row 2 (counted from 0)` of a folder or Parquet."""
    if source.is_dir() or source.suffix.lower() == ".parquet":
        return [f"row {row} (counted from 0)" for row in range(rows)]
    lines = [number for number, line in enumerate(source.read_bytes().split(b"\n"), 1) if line.strip()]
    # The last lines are the rows: a header, if there is one, comes before them.
    return [f"line {number}" for number in lines[len(lines) - rows :]]

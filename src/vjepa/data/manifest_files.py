"""Manifest files."""

import csv
import io
import os
import re
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from vjepa.errors import UserError

VIDEOS = (
    ".mp4",
    ".mkv",
    ".webm",
    ".avi",
    ".mov",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".flv",
    ".wmv",
    ".3gp",
    ".ogv",
    ".gif",
)
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
NUMBERS = {"label": pa.int64(), "start": pa.float64(), "end": pa.float64(), "duration": pa.float64()}
COLUMNS = ("path", *NUMBERS)
SURELY_PATH = (
    "filename",
    "file",
    "file_name",
    "filepath",
    "file_path",
    "video",
    "video_path",
    "paths",
    "name",
)


class ManifestError(UserError):
    """A manifest that cannot be read. One sentence: which file and line, what is wrong, what to do."""


def _read(source: Path) -> pa.Table:
    ending = source.suffix.lower()
    if source.is_dir():
        return _read_folder(source)
    if ending == ".parquet":
        return _read_parquet(source)
    if ending in (".csv", ".tsv", ".txt"):
        return _read_text(source, ending)
    raise ManifestError(
        f"{source}: a manifest is a folder or ends in .csv, .tsv, .txt or .parquet, not in {ending!r}"
    )


def _read_folder(source: Path) -> pa.Table:
    found = []
    for folder, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [name for name in files if name.lower().endswith(VIDEOS) and not name.startswith(".")]
        found += [os.path.relpath(os.path.join(folder, name), source) for name in names]
    if not found:
        raise ManifestError(f"{source}: no videos in this folder or below; looked for {' '.join(VIDEOS)}")
    try:
        return pa.table({"path": pa.array(sorted(found), pa.large_string())})
    except UnicodeEncodeError as error:
        raise ManifestError(f"{source}: the name {error.object!r} is not UTF-8; rename it") from error


def _read_parquet(source: Path) -> pa.Table:
    table = pa.parquet.read_table(source)
    _check_header(source, table.column_names)
    kind = table.schema.field("path").type
    if not any(
        is_text(kind) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    ):
        raise ManifestError(f"{source}: column path holds {kind}; expected text")
    return table.set_column(table.column_names.index("path"), "path", table["path"].cast(pa.large_string()))


def _read_text(source: Path, ending: str) -> pa.Table:
    data = source.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        first = data.decode().lstrip("\r\n").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{source}, line {line}: not UTF-8; save the file in that encoding") from error
    if not data.strip():
        raise ManifestError(f"{source}: the file is empty; expected one line for each video")
    # The lists of the public V-JEPA code end in .csv, but have no header and a space between path and label.
    if ending == ".txt" or (ending == ".csv" and re.search(r"[^,\s]\s+-?\d+$", first)):
        return _read_list(source, data)
    return _read_columns(source, data, first, "\t" if ending == ".tsv" else ",")


def _read_list(source: Path, data: bytes) -> pa.Table:
    table = _parse(data, pa.csv.ParseOptions(delimiter="\x01", quote_char=False), ["line"])
    lines = pc.utf8_trim_whitespace(table["line"])
    parts = pc.extract_regex(lines, r"^(?P<path>.*\S)\s+(?P<label>-?\d+)$")
    alone = pc.is_null(parts)
    endings = "|".join(re.escape(ending) for ending in VIDEOS + PICTURES)
    odd = pc.and_(alone, pc.invert(pc.match_substring_regex(lines, f"(?:{endings})$", ignore_case=True)))
    _refuse(
        source,
        odd,
        lines,
        "expected a path, a space and a whole number, or the path of a video alone; got {!r}",
    )
    path = pc.if_else(alone, lines, pc.struct_field(parts, "path"))
    return pa.table({"path": path, "label": pc.struct_field(parts, "label")})


def _read_columns(source: Path, data: bytes, first: str, delimiter: str) -> pa.Table:
    names = next(csv.reader([first], delimiter=delimiter))
    _check_header(source, names)
    try:
        return _parse(data, pa.csv.ParseOptions(delimiter=delimiter), names)
    except pa.ArrowInvalid as error:
        rows = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=delimiter)
        ragged = next((row for row in rows if row and len(row) != len(names)), None)
        if ragged is None:
            raise
        words = f"{len(ragged)} values, but the header names {len(names)} columns; quote values that hold the separator"
        raise ManifestError(f"{source}, line {rows.line_num}: {words}") from error


def _parse(data: bytes, options: pa.csv.ParseOptions, names: list[str]) -> pa.Table:
    """All columns as text: a type guessed from the first rows is an error in the middle of the file."""
    read = pa.csv.ReadOptions(column_names=names if names == ["line"] else None)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()))
    return pa.csv.read_csv(pa.BufferReader(data), read, options, types)


def _check_header(source: Path, names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ManifestError(f"{source}: two columns have the same name among {names}; rename one")
    meant = {name.strip().lower(): name for name in names if name not in COLUMNS}
    for column in COLUMNS:
        if column in meant and column not in names:
            raise ManifestError(f"{source}: column {meant[column]!r} must be spelled {column!r}")
    if "path" in names:
        return
    if name := next((meant[name] for name in SURELY_PATH if name in meant), None):
        advice = f"rename the column {name!r} to 'path'"
    elif any("/" in name or name.lower().endswith(VIDEOS + PICTURES) for name in names):
        advice = "that looks like data: put a header in front, such as path,label"
    else:
        advice = "the header must name it"
    raise ManifestError(f"{source}: no column 'path', only {names}; {advice}")


def _checked(source: Path, table: pa.Table) -> pa.Table:
    """The table with numbers for text and nulls for columns that are not there."""
    for name, kind in NUMBERS.items():
        if name in table.column_names:
            table = table.set_column(
                table.column_names.index(name), name, _numbers(source, table[name], name, kind)
            )
        elif name != "duration":
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    table = table.set_column(table.column_names.index("label"), "label", pc.fill_null(table["label"], -1))
    path, label, start, end = (table[name] for name in ("path", "label", "start", "end"))
    _refuse(source, pc.equal(pc.fill_null(pc.utf8_trim_whitespace(path), ""), ""), path, "path is empty")
    _refuse(source, pc.less(label, -1), label, "label is {}; expected 0 or more, or -1 for none")
    for name in ("start", "end"):
        wrong = pc.invert(pc.and_(pc.is_finite(table[name]), pc.greater_equal(table[name], 0)))
        _refuse(source, wrong, table[name], name + " is {}; expected seconds, 0 or more")
    _refuse(
        source,
        pc.less_equal(end, pc.fill_null(start, 0.0)),
        end,
        "end is {}, which is not after start; both are seconds",
    )
    return table


def _numbers(source: Path, column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    if _fits(column, kind):
        return column.cast(pa.float64()).cast(
            kind
        )  # through float: pandas writes 3.0 where other labels are missing
    good, bad = 0, len(column)  # so many from the start are good, so many are not
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _fits(column[good:middle], kind) else (good, middle)
    what = "a whole number" if kind == pa.int64() else "a number"
    _complain(source, good, column, name + " is {!r}; expected " + what + ", or nothing")


def _fits(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        column.cast(pa.float64()).cast(kind)
    except pa.ArrowException:
        return False
    return True


def _refuse(source: Path, wrong: pa.Array | pa.ChunkedArray, values: pa.ChunkedArray, words: str) -> None:
    """Raise ManifestError for the first row that is wrong, if any."""
    row = pc.index(pc.fill_null(wrong, False), True).as_py()
    if row >= 0:
        _complain(source, row, values, words)


def _complain(source: Path, row: int, values: pa.ChunkedArray, words: str) -> NoReturn:
    raise ManifestError(f"{source}, {_places(source, len(values))[row]}: {words.format(values[row].as_py())}")


def _places(source: Path, rows: int) -> list[str]:
    """Where each row stands in its source, in words."""
    if source.is_dir() or source.suffix.lower() == ".parquet":
        return [f"row {row} (counted from 0)" for row in range(rows)]
    lines = [number for number, line in enumerate(source.read_bytes().split(b"\n"), 1) if line.strip()]
    return [
        f"line {number}" for number in lines[len(lines) - rows :]
    ]  # a header, where there is one, is left over

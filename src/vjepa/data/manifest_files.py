"""Reads manifest files of every format into an Arrow table; a mistake in one becomes a single sentence.

    table = typed_table(source, read_table(source))

`read_table` reads a folder, a list, a CSV, a TSV or a Parquet file; `typed_table` turns its text into numbers
and checks each value. Both work on whole columns: no loop over rows runs in Python, so millions of rows are
read in seconds.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data import array_files
from vjepa.data.class_map import cleaned
from vjepa.data.list_dialect import NAMES_OF_PATH, column_names
from vjepa.data.manifest_error import ManifestError
from vjepa.data.manifest_text import read_text_table
from vjepa.data.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, videos_below
from vjepa.data.row_errors import RowError, check_rows
from vjepa.data.text_files import check_unpacked

NUMBERS = {"label": pa.int64(), "start": pa.float64(), "end": pa.float64(), "duration": pa.float64()}
ALWAYS = ("label", "start", "end")
"""Columns of numbers that every table has, of nulls if need be."""
MEMBER = ("shard", "offset", "size", "digest")
"""Columns of an index of shards: which one holds the video, from which byte on, how many, of what content."""
LARGEST = 2**53
"""From here on a float is not every whole number."""
LISTS = (".csv", ".tsv", ".txt", ".parquet")
"""Endings of files that list videos."""
NO_VIDEO = r"\.(csv|tsv|txt|parquet|json|xlsx?)$"
NOT_A_NAME = r"^(?i:nan|inf|[-+]?[\d.]+(e[-+]?\d+)?)$"
"""What is written for a number, and names no class."""


def read_table(source: Path) -> pa.Table:
    """The columns of a manifest as they are in the file. Raises ManifestError, OSError or ArrowException."""
    suffix = source.suffix.lower()
    if source.is_dir():
        return _read_folder(source)
    if suffix not in LISTS:
        if suffix not in VIDEO_SUFFIXES + IMAGE_SUFFIXES:
            _check_binary(source)
        return pa.table({"path": pa.array([source.name], pa.large_string())})
    if suffix == ".parquet":
        return with_paths(source, array_files.read_table(source))
    return with_paths(source, read_text_table(source), trimmed=True)


def with_paths(source: Path, table: pa.Table, trimmed: bool = False) -> pa.Table:
    """The columns of a file by the names that they have here, with paths that are checked.

    trimmed: Whether spaces around a path do not belong to it. Raises ManifestError."""
    table = without_views(table.rename_columns(column_names(table.column_names)))
    check_columns_named(source, table.schema)
    array_files.check_utf8(source, table, ("path", "label_name"))
    path = table["path"].cast(pa.large_string())
    if trimmed:
        path = pc.utf8_trim_whitespace(path)
        open_quote = "path is {!r}; a quote opens there that is not closed".format
        check_rows(source, pc.match_substring(path, "\n"), path, open_quote)
    table = with_column(table, "path", path)
    _check_no_list(source, table)
    return table


def without_views(table: pa.Table) -> pa.Table:
    """The table without a type of text that newer writers have, for which Arrow lacks most functions."""
    views = [i for i, field in enumerate(table.schema) if pa.types.is_string_view(field.type)]
    for i in views:
        table = table.set_column(i, table.column_names[i], table[i].cast(pa.large_string()))
    return table


def _check_no_list(source: Path, table: pa.Table) -> None:
    """Raise ManifestError for a second header, as in joined files, and for a list in place of a video."""
    path = table["path"]
    header = pc.match_substring_regex(path, "^path$", ignore_case=True)
    if "label" in table.column_names and pc.any(header).as_py():
        label = pc.utf8_lower(pc.utf8_trim_whitespace(table["label"].cast(pa.large_string())))
        header = pc.and_(header, pc.equal(label, "label"))
    check_rows(source, header, path, "the header stands here again; remove this line".format)
    is_list = pc.match_substring_regex(path, NO_VIDEO, ignore_case=True)
    check_rows(source, is_list, path, "{!r} is a list or a table; expected a video".format)


def _read_folder(source: Path) -> pa.Table:
    try:
        return pa.table({"path": pa.array(videos_below(source), pa.large_string())})
    except UnicodeEncodeError as error:
        raise ManifestError(f"{source}: the name {error.object!r} is not UTF-8; rename it") from error


def _check_binary(source: Path) -> None:
    """Raise ManifestError for a file with an unknown ending that is text, or packed: it is no video."""
    with source.open("rb") as file:
        begin = file.read(4096)
    check_unpacked(source, begin)
    if b"\0" not in begin:
        expected = "a manifest is a folder, a video, or ends in .csv, .tsv, .txt or .parquet"
        raise ManifestError(f"{source}: {expected}, not in {source.suffix.lower()!r}")


def check_columns_named(source: Path, schema: pa.Schema) -> None:
    """Raise ManifestError without a column `path` of text, and for a name that stands there twice."""
    names = schema.names
    if len(set(names)) < len(names):
        raise ManifestError(f"{source}: two columns have the same name among {names}; rename one")
    if "path" in names:
        kind = schema.field("path").type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
        if not is_text:
            raise ManifestError(f"{source}: column path holds {kind}; expected text")
        return

    meant = next((name for name in names if name.lower() in NAMES_OF_PATH), None)
    advice = f"rename the column {meant!r} to 'path'" if meant else "add one with the path of each video"
    raise ManifestError(f"{source}: no column 'path', only {names}; {advice}")


def typed_table(source: Path, table: pa.Table) -> pa.Table:
    """The table with numbers in place of text, and nulls in columns that the file does not have.

    Labels that are names of classes stay text, and are in the column `label_name` too.
    Raises ManifestError for the first value that is not as expected."""
    names = class_names_in(table["label"]) if "label" in table.column_names else None
    if names is None:
        return with_numbers(source, table)
    return with_numbers(
        source, with_column(with_column(table, "label_name", names), "label", names), named=True
    )


def with_numbers(source: Path, table: pa.Table, named: bool = False) -> pa.Table:
    """The same, where it is known whether labels are names. Rows of a table may be given in pieces."""
    for name, kind in NUMBERS.items():
        if name in table.column_names:
            if not (named and name == "label"):
                table = with_column(table, name, _to_numbers(source, table[name], name, kind))
        elif name in ALWAYS:
            table = table.append_column(name, pa.nulls(table.num_rows, kind))

    if holds_members(table.column_names):
        table = with_members(source, table)
    path = table["path"]
    empty = pc.equal(pc.fill_null(pc.utf8_trim_whitespace(path), ""), "")
    check_rows(source, empty, path, "path is empty".format)
    if not named:
        label = pc.fill_null(table["label"], -1)
        words = "label is {}; expected 0 or more, or -1 for none".format
        check_rows(source, pc.less(label, -1), label, words)
        table = with_column(table, "label", label)
    for name in ("start", "end"):
        seconds = table[name]
        wrong = pc.invert(pc.and_(pc.is_finite(seconds), pc.greater_equal(seconds, 0)))
        check_rows(source, wrong, seconds, (name + " is {}; expected seconds, 0 or more").format)
    end = table["end"]
    not_after_start = pc.less_equal(end, pc.fill_null(table["start"], 0.0))
    check_rows(source, not_after_start, end, "end is {}, which is not after start; both are seconds".format)
    return table


def holds_members(names: Sequence[str]) -> bool:
    """Whether these are columns of an index of shards."""
    return {"shard", "offset", "size"} <= set(names)


def with_members(source: Path, table: pa.Table) -> pa.Table:
    """The table of an index of shards with numbers and texts of one type. Raises ManifestError."""
    for name in ("offset", "size"):
        column = _to_numbers(source, table[name], name, pa.int64())
        least = int(name == "size")
        wrong = pc.less(pc.fill_null(column, -1), least)
        check_rows(source, wrong, column, (name + f" is {{}}; expected bytes, {least} or more").format)
        table = with_column(table, name, column)
    array_files.check_utf8(source, table, ("shard", "digest"))
    for name in {"shard", "digest"} & {*table.column_names}:
        column = table[name].cast(pa.large_string())
        missing = pc.equal(pc.fill_null(column, ""), "")
        check_rows(source, missing, column, (name + " is empty; pack the videos again").format)
        table = with_column(table, name, column)
    return table


def with_column(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The table with this column in place of that of the same name, or as a new one."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def class_names_in(labels: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """The names that a column of labels holds, null where it is empty; None if it holds numbers."""
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(pa.large_string())
    labels = blanks_as_nulls(labels)
    if labels.type not in (pa.string(), pa.large_string()) or _are_numbers(labels, pa.int64()):
        return None
    # A name holds a letter. Among numbers, a name is a mistake.
    has_letter = pc.match_substring_regex(labels, r"\pL")
    are_names = pc.all(pc.and_(has_letter, pc.invert(pc.match_substring_regex(labels, NOT_A_NAME)))).as_py()
    return cleaned(labels.cast(pa.large_string())) if are_names else None


def blanks_as_nulls(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text without spaces around its values, null where that leaves nothing."""
    if column.type in (pa.string(), pa.large_string()):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    return column


def _to_numbers(source: Path, column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    column = blanks_as_nulls(column)
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
    others = ", as in other rows" if name == "label" else ""
    words = name + " is {!r}; expected " + expected + ", or nothing" + others
    raise RowError(source, good, words.format(column[good].as_py()))


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Through float: pandas writes 3.0 where other labels are missing."""
    numbers = column.cast(pa.float64())
    if kind == pa.int64() and (pc.max(numbers).as_py() or 0) >= LARGEST:
        return column.cast(kind)
    return numbers.cast(kind)


def _are_numbers(column: pa.ChunkedArray, kind: pa.DataType) -> bool:
    try:
        _cast(column, kind)
    except pa.ArrowException:
        return False
    return True

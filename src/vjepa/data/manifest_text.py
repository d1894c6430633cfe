"""Reads lists and tables in text into Arrow columns of text, in whatever dialect people have them.

Whole columns are read: no loop over rows runs in Python.
"""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from vjepa.data.list_dialect import EXPECTED, NUMBER, Dialect, read_dialect, records
from vjepa.data.manifest_error import ManifestError
from vjepa.data.media_files import MEDIA
from vjepa.data.row_errors import check_rows

OPEN_QUOTE = "a quote opens there that is not closed"
SECONDS = ("start", "end", "duration")
IN_QUOTES = r'^"((?:[^"]|"")*)"$'


def read_text_table(source: Path) -> pa.Table:
    """The columns of a list or table, all of text. Raises ManifestError, or ArrowException."""
    data, dialect = read_dialect(source)
    if dialect.is_list:
        return _read_list(source, data, dialect)
    return _read_columns(source, data, dialect)


def _read_list(source: Path, data: bytes, dialect: Dialect) -> pa.Table:
    """Lines of a path, a separator and a label, or of a path alone."""
    # No text holds \x1e, so that each line is one value, quotes and commas included.
    options = pa.csv.ParseOptions(delimiter="\x1e", quote_char=False)
    lines = pc.utf8_trim_whitespace(_parse(data, options, ["line"])["line"])
    lines = lines.filter(pc.not_equal(lines, ""))[1 if dialect.header else 0 :]
    if dialect.separator == "":
        return pa.table({"path": _unquoted(lines)})

    alone = pc.match_substring_regex(lines, rf'(?:{MEDIA})"?$', ignore_case=True)
    parts = _path_and_label(lines, dialect.parsed, alone)
    path = pc.if_else(alone, lines, pc.struct_field(parts, "path"))
    check_rows(source, pc.is_null(path), lines, (EXPECTED + "; got {!r}").format)
    separator = re.escape(dialect.parsed)
    several = pc.match_substring_regex(path, rf'(?:{MEDIA})"? *{separator}\s*{NUMBER}$', ignore_case=True)
    words = "several values after the path; expected one, the label; got {!r}".format
    check_rows(source, several, lines, words)
    label = pc.if_else(alone, pa.scalar(None, pa.large_string()), pc.struct_field(parts, "label"))
    return pa.table({"path": _unquoted(path), "label": _unquoted(label)})


def _path_and_label(lines: pa.ChunkedArray, separator: str, alone: pa.ChunkedArray) -> pa.ChunkedArray:
    """The fields path and label of each line; null where it has none. `alone` says which are paths alone."""
    if separator != " ":
        # Greedy: the last separator counts, and the path may hold others.
        between = re.escape(separator)
        label = rf'"[^"]*"|[^{between}]*'
        return pc.extract_regex(lines, rf"^(?P<path>.*\S)\s*{between}\s*(?P<label>{label})$")
    parts = pc.extract_regex(lines, rf"^(?P<path>.*\S)\s+(?P<label>{NUMBER})$")
    if pc.any(pc.and_(pc.is_null(parts), pc.invert(alone))).as_py():
        # The name of a class may hold spaces, so it begins where the path ends.
        name = rf'(?i)^(?P<path>.*(?:{MEDIA})"?)\s+(?P<label>\S.*)$'
        parts = pc.if_else(pc.is_null(parts), pc.extract_regex(lines, name), parts)
    return parts


def _unquoted(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Without the quotes that pandas and Excel put around a value that holds the separator."""
    if not pc.any(pc.starts_with(column, '"')).as_py():
        return column
    inner = pc.replace_substring(pc.replace_substring_regex(column, IN_QUOTES, r"\1"), '""', '"')
    return pc.if_else(pc.match_substring_regex(column, IN_QUOTES), inner, column)


def _read_columns(source: Path, data: bytes, dialect: Dialect) -> pa.Table:
    """A table with a header."""
    options = pa.csv.ParseOptions(delimiter=dialect.parsed, newlines_in_values=b'"' in data)
    try:
        table = _parse(data, options, dialect.header)[1:]
        if options.newlines_in_values:
            _check_quotes(source, table, dialect.parsed)
        return _with_points(table) if dialect.separator in ";\t" else table
    except pa.ArrowInvalid as error:
        # Arrow does not say which line is wrong. Python's slower reader does.
        width = len(dialect.header)
        wrong = next(((line, row) for line, row in records(data, dialect) if len(row) != width), None)
        if wrong is None:
            raise
        line, row = wrong
        reason = f"{len(row)} values, but the header names {width} columns"
        reason += "; quote values that hold the separator"
        if any("\n" in value for value in row):
            reason = OPEN_QUOTE
        raise ManifestError(f"{source}, line {line}: {reason}") from error


def _with_points(table: pa.Table) -> pa.Table:
    """Seconds such as 0,5 with a point: a spreadsheet that separates cells by semicolons writes commas."""
    for number, name in enumerate(table.column_names):
        if name in SECONDS:
            column = pc.replace_substring_regex(table[name], r"^(\s*\d+),(\d+\s*)$", r"\1.\2")
            table = table.set_column(number, name, column)
    return table


def _check_quotes(source: Path, table: pa.Table, separator: str) -> None:
    """Raise ManifestError for a value that swallowed rows: from a quote at its start to the next quote.

    A value in quotes may hold line breaks and separators, but no path of a video at the place of a row's."""
    place = table.column_names.index("path") if "path" in table.column_names else 0
    value = rf"[^\n{re.escape(separator)}]*"
    path = rf'{value}(?:{MEDIA})"?(?:{re.escape(separator)}|\n|$)'
    for i, column in enumerate(table.columns):
        # In the line of a later row, or in what is left of the row in which the quote opens.
        swallowed = rf"\n(?:{value}{re.escape(separator)}){{{place}}}{path}"
        if i < place:
            swallowed += rf"|^(?:{value}{re.escape(separator)}){{{place - i}}}{path}"
        wrong = pc.match_substring(column, "\n")
        if pc.any(wrong).as_py():
            wrong = pc.and_(wrong, pc.match_substring_regex(column, swallowed, ignore_case=True))
            advice = "write it twice in quotes, or leave it out"
            check_rows(source, wrong, column, f"{OPEN_QUOTE}; {advice}".format)


def _parse(data: bytes, options: pa.csv.ParseOptions, names: list[str]) -> pa.Table:
    """All columns as text, the header a row like the others.

    A type guessed from the first rows would be an error in the middle of the file."""
    read = pa.csv.ReadOptions(column_names=names)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()))
    return pa.csv.read_csv(pa.BufferReader(data), read, options, types)

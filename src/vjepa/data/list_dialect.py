"""The dialect of a list or table in text: what separates its values, and whether a header names them.

    find_dialect(source, {1: "path;label", 2: "a.mp4;0"})     # Dialect(";", ["path", "label"])
    find_dialect(source, {1: "my video.mp4 3"})               # Dialect(" ", None): a list

It is decided once, from the first lines, and never row by row.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from vjepa.data.manifest_error import ManifestError
from vjepa.data.media_files import MEDIA
from vjepa.data.text_files import read_utf8

FIRST = 100
"""Lines that decide."""
COLUMNS = ("path", "label", "start", "end", "duration", "label_name", "labels")
"""Columns that mean something here, whatever their case in the file."""

SEPARATORS = {"\t": "tab", ";": "semicolon", "|": "bar", ",": "comma", "::": "double colon", " ": "space"}
NUMBER = r"[-+]?\d[\d.]*"
NAMES_OF_LABEL = ("class", "target", "category", "class_name", "class_id", "label_id", "action", "y")
"""What people call the column `label`."""
NAMES_OF_PATH = (
    "path",
    "filename",
    "file",
    "file_name",
    "filepath",
    "file_path",
    "video",
    "video_path",
    "paths",
)
"""What people call the column `path`."""
LINE = re.compile(
    rf'(?P<path>"(?:[^"]|"")*"|.*(?:{MEDIA})) *(?P<separator>::|[\t;|, ]|$) *(?P<rest>.*)', re.IGNORECASE
)
"""A line of a list: a path in quotes or up to the last ending of a video, a separator, what follows."""
EXPECTED = "expected the path of a video and a label, or a header that names the columns, such as path,label"


class Dialect(NamedTuple):
    separator: str
    """A key of SEPARATORS, or "" where every line is one path, whatever its ending."""
    header: list[str] | None
    """The names of the columns; None for a list, which has none."""

    @property
    def is_list(self) -> bool:
        """Whether rows are read as `path label`, so that a path with spaces needs no quotes."""
        return self.header is None or (self.separator == " " and self.header == ["path", "label"])

    @property
    def parsed(self) -> str:
        """The separator for a parser, which takes one character. No text holds the one in place of `::`."""
        return "\x1f" if self.separator == "::" else self.separator


def read_dialect(source: Path) -> tuple[bytes, Dialect]:
    """The text of a file as UTF-8, with single characters as separators, and its dialect.

    Raises ManifestError."""
    # Excel takes a first line such as `sep=;` for a setting. Emptied, so that lines keep their numbers.
    data = re.sub(rb"\A\s*sep=.(?=\n)", b"", read_utf8(source))
    # NumPy and others mark a header as a comment.
    data = re.sub(rb'(?i)\A(\s*)#[ \t]*(?="?(?:path|label)"?[^\w.])', rb"\1", data)
    data = without_empty_cells(data)
    lines = enumerate(io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\n"), 1)
    first = dict(islice(((number, line.rstrip("\n")) for number, line in lines if line.strip()), FIRST))
    if not first:
        raise ManifestError(f"{source}: the file is empty; expected one line for each video")
    dialect = find_dialect(source, first)
    if dialect.separator == "::":
        data = data.replace(b"::", dialect.parsed.encode())
    return data, dialect


def without_empty_cells(data: bytes) -> bytes:
    """The text without the separators of cells that a spreadsheet counts in, though nothing is in them.

    They stand at the end of every line, the first one included, or fill a line alone."""
    first_line = data.lstrip().partition(b"\n")[0].rstrip(b" ")
    trailing = first_line[len(first_line.rstrip(b";,\t")) :]
    if trailing:
        data = re.sub(rb"(?m)%s *$" % re.escape(trailing), b"", data)
    return re.sub(rb"(?m)^[;,\t][;,\t ]*$", b"", data)


def records(data: bytes, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The line on which each row of a table begins, and its values. The header is the first of them."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=dialect.parsed)
    line = 1
    for row in reader:
        if row:
            yield line, row
        line = reader.line_num + 1


def row_lines(source: Path) -> list[int]:
    """The line of the file on which each row begins."""
    data, dialect = read_dialect(source)
    if dialect.is_list:
        lines = [number for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    else:
        lines = [number for number, _ in records(data, dialect)]
    return lines if dialect.header is None else lines[1:]


def find_dialect(source: Path, lines: Mapping[int, str]) -> Dialect:
    """The dialect of a file whose first lines, by their numbers and none of them blank, are given.

    Raises ManifestError for lines that are no list, and for several values that only a header explains."""
    return find_header(list(lines.values())) or Dialect(list_separator(source, lines), None)


def find_header(lines: Sequence[str]) -> Dialect | None:
    """The separator and the names of the columns, if the first line is a header."""
    headers = [(separator, column_names(split(lines[0], separator))) for separator in SEPARATORS]
    headers = [(separator, names) for separator, names in headers if not any(map(is_data, names))]
    for separator, names in headers:
        if any(name.lower() in NAMES_OF_PATH for name in names):
            return Dialect(separator, names)
    # Without a column of paths: a header if all lines have as many values as it has names.
    for separator, names in headers:
        if len(names) > 1 < len(lines) and all(len(split(line, separator)) == len(names) for line in lines):
            return Dialect(separator, names)
    return None


def column_names(names: Sequence[str]) -> list[str]:
    """The names without spaces around them; those with a meaning here in lower case."""
    names = [name.strip() for name in names]
    return [name.lower() if name.lower() in COLUMNS else name for name in names]


def is_data(value: str) -> bool:
    """Whether a value cannot be the name of a column: a number, or a path."""
    return bool(re.search(rf"[/\\]|^{NUMBER}$|(?:{MEDIA})$", value, re.IGNORECASE))


def split(line: str, separator: str) -> list[str]:
    """The values of a line, without their quotes."""
    if separator == "::":
        line, separator = line.replace("::", "\x1f"), "\x1f"
    elif separator == " ":
        line = " ".join(line.split())
    return [value.strip() for value in next(csv.reader([line], delimiter=separator), [])]


def list_separator(source: Path, lines: Mapping[int, str]) -> str:
    """What stands between the path and the label of a list."""
    found = {number: match for number, line in lines.items() if (match := LINE.fullmatch(line.strip()))}
    if not found:
        return separator_of_bare_names(source, lines)

    check_path_first(source, {number: match["path"].strip() for number, match in found.items()})
    separators = {match["separator"]: number for number, match in found.items() if match["separator"]}
    # Spaces and tabs stand side by side in lists that people align by hand.
    if separators.keys() == {" ", "\t"}:
        del separators["\t"]
    if len(separators) > 1:
        seen = " and ".join(f"a {SEPARATORS[key]} (line {number})" for key, number in separators.items())
        raise ManifestError(f"{source}: paths and labels are separated by {seen}; use one of them")
    separator = next(iter(separators), " ")
    for number, match in found.items():
        check_one_value(source, number, separator, values_of(match["rest"], separator))
    return separator


def check_path_first(source: Path, paths: Mapping[int, str]) -> None:
    """Raise ManifestError if what is taken for paths is a label or a number and then the path of a file."""
    for number, path in paths.items():
        if exists(source, path):
            return
        for separator in SEPARATORS:
            first, *others = split(path, separator)
            if others and exists(source, others[-1]):
                reason = f"{first!r} stands before the path {others[-1]!r}, and a list begins with the path"
                advice = f"name all columns in a first line, such as {f'label{separator}path'!r}"
                raise ManifestError(f"{source}, line {number}: {reason}; {advice}")


def values_of(rest: str, separator: str) -> list[str]:
    """What follows a path: one value, or several."""
    values = split(rest, separator)
    # The name of a class may hold spaces. Numbers side by side are several values.
    is_name = separator == " " and not any(map(is_number, values))
    return [rest] if is_name else values


def check_one_value(source: Path, number: int, separator: str, values: Sequence[str]) -> None:
    """Raise ManifestError if more than one value follows the path."""
    if len(values) > 1:
        seen = ", ".join(map(repr, values[:4])) + (", ..." if len(values) > 4 else "")
        example = separator.join(["path", "frames", "label"])
        raise ManifestError(
            f"{source}, line {number}: {len(values)} values after the path ({seen}), and a list has one, the "
            f"label; name all columns in a first line, such as {example!r}"
        )


def separator_of_bare_names(source: Path, lines: Mapping[int, str]) -> str:
    """The separator of a list whose paths have no known ending: they lie in folders, or such files exist."""
    for separator in SEPARATORS:
        rows = {number: split(line, separator) for number, line in lines.items()}
        if min(map(len, rows.values())) < 2 or (separator == " " and not all(map(is_number, last(rows)))):
            continue
        for number, row in rows.items():
            # With spaces in a path, all before the last number belongs to it.
            values = [value for value in row[1:] if separator != " " or is_number(value)]
            check_one_value(source, number, separator, values)
        if are_paths(source, [row[0] for row in rows.values()]):
            return separator
    if any(exists(source, line.strip()) for line in lines.values()):
        return ""
    number, line = next(iter(lines.items()))
    reason = f"{line.strip()[:80]!r} begins with no path (no ending such as .mp4, no such file)"
    raise ManifestError(f"{source}, line {number}: {reason}; {EXPECTED}")


def last(rows: Mapping[int, list[str]]) -> list[str]:
    return [row[-1] for row in rows.values()]


def is_number(value: str) -> bool:
    return bool(re.fullmatch(NUMBER, value))


def are_paths(source: Path, paths: Sequence[str]) -> bool:
    """Whether all of them name a folder, or any of them is a file that exists."""
    return all("/" in path for path in paths) or any(exists(source, path) for path in paths)


def exists(source: Path, path: str) -> bool:
    """Whether it is a file in the list's folder or in the working folder."""
    return any(os.path.isfile(os.path.join(folder, path)) for folder in (source.parent, ""))

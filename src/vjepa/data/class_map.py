"""Numbers for the names of classes, where a list holds names in place of numbers.

A file beside the list says them, if there is one: `train.csv.labels.txt` for the list `train.csv`, or
`labels.txt` for all lists of the folder; likewise .json and .csv. Without one the names are numbered in
alphabetical order, those of all training lists together. A training run with labels writes the file, so that
whatever reads the list later has the same numbers.
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data.manifest_error import ManifestError
from vjepa.data.row_errors import check_rows
from vjepa.data.text_files import read_text
from vjepa.drawing.outputs import complete_file
from vjepa.errors import announce

ENDINGS = (".txt", ".json", ".csv")


def map_beside(source: Path) -> Path | None:
    """The file that numbers the classes of a list."""
    stems = (f"{source.name}.labels", "labels")
    paths = [source.with_name(stem + ending) for stem in stems for ending in ENDINGS]
    return next((path for path in paths if path.is_file() and path != source), None)


def class_numbers(names: Mapping[Path, pa.ChunkedArray]) -> dict[str, int]:
    """The number of each class in the lists whose names are given, numbered together.

    Raises ManifestError if the maps beside two lists differ."""
    maps = {path: read_class_map(path) for source in names if (path := map_beside(source))}
    first, *others = [*maps.items()] or [(None, None)]
    for path, numbers in others:
        if numbers != first[1]:
            raise ManifestError(f"{path} and {first[0]} number classes differently; keep one of them")
    if first[0]:
        announce(f"classes are numbered as in {first[0]}")
        return first[1]

    found = sorted({name for column in names.values() for name in pc.unique(column).to_pylist()} - {None})
    lists = ", ".join(map(str, names))
    announce(f"{lists}: {len(found)} classes are numbered in the order of their names, from {found[0]!r}")
    return {name: number for number, name in enumerate(found)}


def numbered(source: Path, names: pa.ChunkedArray, numbers: Mapping[str, int]) -> pa.ChunkedArray:
    """The number of each row's class, null for an empty name. Raises ManifestError for an unknown one."""
    places = pc.index_in(names, value_set=pa.array(list(numbers), pa.large_string()))
    unknown = pc.and_(pc.is_valid(names), pc.is_null(places))
    known = ", ".join(list(numbers)[:3])
    words = f"class {{!r}} is none of the {len(numbers)} of data.train or of the map of labels ({known}, ...)"
    check_rows(source, unknown, names, words + "; correct it, add it there, or leave the row out")
    return pa.array(list(numbers.values()), pa.int64()).take(places)


def read_class_map(path: Path) -> dict[str, int]:
    """The number of each class. Lines of names, lines of a number and a name, or JSON.

    Raises ManifestError unless every class has a number of its own."""
    text = read_text(path)
    pairs = pairs_of_json(path, text) if path.suffix.lower() == ".json" else pairs_of_lines(text)
    numbers = dict(pairs)
    if not pairs or len(numbers) < len(pairs) or len(set(numbers.values())) < len(pairs):
        raise ManifestError(
            f"{path}: {len(pairs)} classes with {len(numbers)} names; expected one name on each line, or a "
            "number and a name, each of them once: the file numbers the classes of the lists beside it"
        )
    return numbers


def pairs_of_json(path: Path, text: str) -> list[tuple[str, int]]:
    """Names and numbers of `{"name": 0}`, `{"0": "name"}` or `["name"]`."""
    try:
        content = json.loads(text)
        if isinstance(content, list):
            return [(str(name).strip(), number) for number, name in enumerate(content)]
        if all(str(key).isdecimal() for key in content):
            content = {name: number for number, name in content.items()}
        return [(str(name).strip(), int(number)) for name, number in content.items()]
    except (ValueError, TypeError, AttributeError) as error:
        raise ManifestError(f'{path}: expected JSON such as {{"name of a class": 0}}: {error}') from error


def pairs_of_lines(text: str) -> list[tuple[str, int]]:
    """Names and numbers of lines of text, with numbers in front, behind, or none."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for pattern in (r"(?P<number>\d+)[\s,;:]+(?P<name>.+)", r"(?P<name>.+?)[\s,;:]+(?P<number>\d+)"):
        found = [match for line in lines if (match := re.fullmatch(pattern, line))]
        # The first line may be a header.
        if found and len(found) >= len(lines) - 1 and len(found) == len({match["number"] for match in found}):
            return [(unquoted(match["name"]), int(match["number"])) for match in found]
    return [(unquoted(line), number) for number, line in enumerate(lines)]


def unquoted(value: str) -> str:
    """A value of a CSV file without its quotes."""
    return next(csv.reader([value]))[0].strip() if value.startswith('"') else value


def write_class_map(source: Path, numbers: Mapping[str, int]) -> None:
    """Write the names beside a list, in the order of their numbers, if no file there says them yet."""
    if beside := map_beside(source):
        if read_class_map(beside) != numbers:
            announce(f"{beside} numbers classes otherwise than data.train does, whose numbers are used")
        return
    path = source.with_name(f"{source.name}.labels.txt")
    try:
        with complete_file(path) as unfinished:
            unfinished.write_text("".join(f"{name}\n" for name in numbers), encoding="utf-8")
    except OSError as error:
        announce(f"{path} cannot be written ({error.strerror}); it would keep the numbers of the classes")

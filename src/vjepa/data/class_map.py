"""Numbers for the names of classes, where a list holds names in place of numbers.

A file beside the list says them, if there is one: `train.csv.labels.json` for the list `train.csv`, or
`labels.json` for all lists of the folder; likewise .txt and .csv. Without one the names are numbered in
alphabetical order, those of all training lists together. A training run with labels writes the file, so that
whatever reads the list later has the same numbers.
"""

import csv
import json
import re
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from vjepa.data.manifest_error import ManifestError
from vjepa.data.media_files import MEDIA
from vjepa.data.row_errors import RowError, check_rows
from vjepa.data.text_files import read_text
from vjepa.drawing.outputs import complete_file
from vjepa.errors import UserError, announce, damage_as_error

ENDINGS = (".json", ".txt", ".csv")
MOST_BYTES = 2**26
"""Bytes of a map: a million names."""
NO_CLASS = -1
"""The number of a row without a class."""
PLAIN = "^[!-~]+( [!-~]+)*$"
"""Names that are compared as they are."""
INVISIBLE = "[\u200b\u2060\ufeff]"
"""Spaces without width, and the byte order mark."""


def map_beside(source: Path) -> Path | None:
    """The file that numbers the classes of a list. A file `labels.csv` may be a list itself, and no map."""
    own, common = (
        [source.with_name(stem + ending) for ending in ENDINGS]
        for stem in (f"{source.name}.labels", "labels")
    )
    maps = (path for path in [*own, *common] if path.is_file() and (path in own or not lists_videos(path)))
    return next(maps, None)


def lists_videos(path: Path) -> bool:
    """Whether the first line of a file names a column `path`, or holds the path of a video and a label."""
    first = read_text(path).lstrip().partition("\n")[0]
    columns = re.split(r"[,;|\t]|(?<=^path) (?=label)", first.lower())
    is_header = len(columns) > 1 and "path" in (name.strip(' "') for name in columns)
    return is_header or bool(re.search(rf'(?:{MEDIA})"?[,;|\t ]+\S', first, re.IGNORECASE))


def cleaned(names: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names of classes as they are compared: composed letters, and single plain spaces between words."""
    if pc.all(pc.match_substring_regex(names, PLAIN)).as_py():
        return names  # nearly always, and much faster
    names = pc.replace_substring_regex(pc.utf8_normalize(names, "NFC"), INVISIBLE, "")
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(names, r"[\s\pZ]+", " "))


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

    found = sorted({name for column in names.values() for name in distinct(column).to_pylist()} - {None})
    lists = ", ".join(map(str, names))
    count = "1 class is" if len(found) == 1 else f"{len(found)} classes are"
    announce(f"{lists}: {count} numbered in the order of their names, from {found[0]!r}")
    return {name: number for number, name in enumerate(found)}


def distinct(names: pa.ChunkedArray) -> pa.Array:
    """The names that occur in a column."""
    # A manifest that is mapped has each name once, and for each row the place of its name.
    return names.chunk(0).dictionary if pa.types.is_dictionary(names.type) else pc.unique(names)


def numbered(source: Path, names: pa.ChunkedArray, numbers: Mapping[str, int]) -> pa.ChunkedArray | pa.Array:
    """The number of each row's class, -1 for an empty name. Raises ManifestError for an unknown one."""
    if not pa.types.is_dictionary(names.type):
        return pc.fill_null(found_numbers(source, names, numbers), NO_CLASS)
    column = names.chunk(0)
    # Under a null stands -1.
    places = pa.Array.from_buffers(pa.int64(), len(column), [None, column.indices.buffers()[1]])
    try:
        own = found_numbers(source, pa.chunked_array([column.dictionary]), numbers)
    except RowError as error:
        raise RowError(source, pc.index(places, error.row).as_py(), error.reason) from error
    return places if numbers_itself(names, numbers) else pc.fill_null(own.take(column.indices), NO_CLASS)


def numbers_itself(names: pa.ChunkedArray, numbers: Mapping[str, int]) -> bool:
    """Whether the names of a mapped manifest have the numbers that stand for them in its file."""
    if not pa.types.is_dictionary(names.type):
        return False
    return [numbers.get(name) for name in distinct(names).to_pylist()] == list(range(len(distinct(names))))


def found_numbers(source: Path, names: pa.ChunkedArray, numbers: Mapping[str, int]) -> pa.ChunkedArray:
    """The number of each name, null for an empty one. Raises RowError for an unknown one."""
    places = pc.index_in(names, value_set=pa.array(list(numbers), pa.large_string()))
    unknown = pc.and_(pc.is_valid(names), pc.is_null(places))
    known = ", ".join(list(numbers)[:3])
    classes = f"the {len(numbers)} of data.train or of the map of labels ({known}, ...)"
    advice = "correct it, add it there, or leave the row out"

    def words(name: object) -> str:
        return f"class {name!r} is none of {classes}; {advice}{numbered_by(source)}"

    check_rows(source, unknown, names, words)
    return pa.array(list(numbers.values()), pa.int64()).take(places)


def numbered_by(source: Path) -> str:
    """The end of a sentence about a number that the map beside a list has decided."""
    beside = map_beside(source)
    return f"; {beside} numbers the classes" if beside else ""


def check_names(tables: Mapping[Path, pa.Table]) -> None:
    """Raise ManifestError if a number has two names or a name two numbers, in lists with both."""
    seen: dict[int | str, tuple[int | str, Path]] = {}
    for source, table in tables.items():
        if "label_name" not in table.column_names or pa.types.is_nested(table["label_name"].type):
            continue
        with damage_as_error(source, ManifestError, "write it anew"):
            pairs = table.select(["label", "label_name"]).group_by(["label", "label_name"]).aggregate([])
            names = cleaned(pairs["label_name"].cast(pa.large_string())).to_pylist()
        for label, name in zip(pairs["label"].to_pylist(), names, strict=True):
            for key, value in ((label, name), (name, label)) if label >= 0 and name else ():
                other, where = seen.setdefault(key, (value, source))
                if other != value:
                    reason = f"class {key!r} is {value!r} here and {other!r} in {where}"
                    raise ManifestError(f"{source}: {reason}; give each class one label and one label_name")


def read_class_map(path: Path) -> dict[str, int]:
    """The number of each class. Lines of names, lines of a number and a name, or JSON.

    Raises ManifestError unless the classes have the numbers from 0, each of them once."""
    text = read_text(path, MOST_BYTES)
    pairs = pairs_of_json(path, text) if path.suffix.lower() == ".json" else pairs_of_lines(text)
    names = cleaned(pa.chunked_array([[name for name, _ in pairs]], pa.large_string())).to_pylist()
    found = sorted(number for _, number in pairs)
    if not pairs or len(set(names)) < len(pairs) or found != list(range(len(pairs))):
        spread = f"numbers from {found[0]} to {found[-1]}" if found else "no numbers"
        raise ManifestError(
            f"{path}: a map of classes with {len(set(names))} different names and {spread}; expected one "
            "name on each line, or a number and a name, each of them once and numbered from 0 without a gap"
        )
    # In the order of the numbers, so that files which say the same are equal.
    return dict(sorted(zip(names, (number for _, number in pairs), strict=True), key=itemgetter(1)))


def pairs_of_json(path: Path, text: str) -> list[tuple[str, int]]:
    """Names and numbers of `{"name": 0}`, `{"0": "name"}` or `["name"]`."""
    expected = f'{path}: expected JSON such as {{"name of a class": 0}}'
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{expected}: {error}") from error
    if not isinstance(content, dict | list):
        raise ManifestError(f"{expected}, not {content!r}")
    pairs = [*content.items()] if isinstance(content, dict) else [(name, i) for i, name in enumerate(content)]
    if all(isinstance(name, str) and is_whole(name) and not is_whole(number) for name, number in pairs):
        pairs = [(name, number) for number, name in pairs]
    for name, number in pairs:
        if not isinstance(name, str) or not is_whole(number):
            raise ManifestError(f"{expected}, not {name!r}: {number!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ManifestError(f"{path}: the name {name!r} holds half of a character; correct it")
    return [(name, int(number)) for name, number in pairs]


def is_whole(value: object) -> bool:
    """Whether a value of JSON is a whole number, or the text of one."""
    return re.fullmatch("[0-9]{1,18}", str(value)) is not None


def pairs_of_lines(text: str) -> list[tuple[str, int]]:
    """Names and numbers of lines of text, with numbers in front, behind, or none."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for pattern in (
        r"(?P<number>\d{1,18})[\s,;:]+(?P<name>.+)",
        r"(?P<name>.+?)[\s,;:]+(?P<number>\d{1,18})",
    ):
        found = [match for line in lines if (match := re.fullmatch(pattern, line))]
        # The first line may be a header, if more than one line has a number.
        complete = len(found) == len(lines) or (len(found) == len(lines) - 1 > 1 and lines[0] != found[0][0])
        # What repeats is a part of names: `level 1`, `level 2`; `2 hands`, `2 feet`.
        repeats = any(len({match[part] for match in found}) < len(found) for part in ("number", "name"))
        if complete and found and not repeats:
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
    path = source.with_name(f"{source.name}.labels.json")
    try:
        with complete_file(path) as unfinished:
            unfinished.write_text(class_map_text(numbers), encoding="utf-8")
    except (OSError, UserError) as error:
        announce(f"{path} cannot be written ({error}); it would keep the numbers of the classes")


def class_map_text(numbers: Mapping[str, int]) -> str:
    """The content of a map of classes."""
    # JSON, because the lines of a text could not say whether `push up 10` ends with its number.
    return json.dumps(numbers, ensure_ascii=False, indent=1) + "\n"

"""The annotations of EPIC-KITCHENS-100 as actions.

read_epic(Path("EPIC_100_validation.csv"), videos=Path("EPIC-KITCHENS"))
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from vjepa.benchmarks.actions import Action
from vjepa.data.list_dialect import Dialect, records
from vjepa.data.manifest_files import ManifestError
from vjepa.data.text_files import read_utf8

MOST_BYTES = 2**28
"""Bytes of a file of annotations, which is read whole."""
EPIC_COLUMNS = (
    "participant_id",
    "video_id",
    "start_timestamp",
    "stop_timestamp",
    "verb_class",
    "noun_class",
    "verb",
    "noun",
)
"""Columns that the public files have. Classes are read from the numbers, not from the names."""
TIMESTAMP = re.compile(r"([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9}(?:\.[0-9]*)?)")
NAME = re.compile(r"\w[\w.-]*")
"""A part of a path, which leads to no other folder."""


def read_epic(source: Path, videos: Path | None) -> list[Action]:
    """Actions of EPIC_100_train.csv or EPIC_100_validation.csv; verbs and nouns are class numbers, as text.

    Videos lie as they are distributed: FOLDER/P01/videos/P01_01.MP4. Raises ManifestError if something is
    missing or malformed; the error names the line.
    """
    if videos is None:
        raise ManifestError(
            f"{source}: EPIC-KITCHENS names no files; give the folder of its videos as data.videos"
        )
    rows = annotation_rows(source)
    # Checked once, so that a wrong file is one sentence and not a KeyError of its first row.
    _, names = next(rows, (1, []))
    missing = [name for name in EPIC_COLUMNS if name not in names]
    if missing:
        raise ManifestError(
            f"{source}: no column {', '.join(missing)}; expected the public EPIC-KITCHENS-100 annotations"
        )
    return [epic_action(f"{source}, line {line}", names, values, videos) for line, values in rows]


def annotation_rows(source: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, values) of the header and of each row. Raises ManifestError for a file that is no text."""
    size = source.stat().st_size
    if size > MOST_BYTES:
        raise ManifestError(
            f"{source}: {size:,} bytes, more than the {MOST_BYTES:,} that are read; the annotations of "
            "EPIC-KITCHENS-100 have 20 million: give its EPIC_100_train.csv or EPIC_100_validation.csv"
        )
    data = read_utf8(source)
    header = data.partition(b"\n")[0].decode()
    # A spreadsheet saves a table with semicolons or tabs in many countries.
    separator = max(",;\t", key=header.count)
    return records(data, Dialect(separator, header.split(separator)))


def epic_action(place: str, names: list[str], values: list[str], videos: Path) -> Action:
    """One row as an action. Raises ManifestError that names the place."""
    if len(values) != len(names):
        raise ManifestError(f"{place}: not as many values as the header names columns; is the file cut off?")
    row = dict(zip(names, values, strict=True))
    if not (row["participant_id"] and row["video_id"]):
        raise ManifestError(f"{place}: participant_id or video_id is empty; both name the video")
    for name in ("participant_id", "video_id"):
        if not NAME.fullmatch(row[name]):
            raise ManifestError(f"{place}: {name} is {row[name]!r}; expected a name such as P01 or P01_01")
    path = videos / row["participant_id"] / "videos" / f"{row['video_id']}.MP4"
    try:
        start = parse_timestamp(row["start_timestamp"])
        stop = parse_timestamp(row["stop_timestamp"])
        verb, noun = (str(whole_number(row[name])) for name in ("verb_class", "noun_class"))
    except ValueError as error:
        raise ManifestError(
            f"{place}: {error}; expected times as HH:MM:SS.sss and classes as numbers"
        ) from error
    # The foreseen moment is a share of the action, so the action must have a length.
    if not 0 <= start < stop < math.inf:
        raise ManifestError(f"{place}: the action runs from {start} s to {stop} s; expected it to last")
    return Action(path, start, stop, verb, noun)


def whole_number(text: str) -> int:
    """A class number, also as pandas writes it beside empty cells: 3.0. Raises ValueError."""
    return int(text.removesuffix(".0"))


def parse_timestamp(timestamp: str) -> float:
    """HH:MM:SS.sss in seconds. Raises ValueError for another format."""
    found = TIMESTAMP.fullmatch(timestamp.strip())
    if not found:
        raise ValueError(f"{timestamp!r} is no time")
    hours, minutes, seconds = found.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)

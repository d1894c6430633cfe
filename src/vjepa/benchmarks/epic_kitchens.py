"""The annotations of EPIC-KITCHENS-100 as actions.

read_epic(Path("EPIC_100_validation.csv"), videos=Path("EPIC-KITCHENS"))
"""

import csv
from pathlib import Path

from vjepa.benchmarks.actions import Action
from vjepa.data.manifest_files import ManifestError

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


def read_epic(source: Path, videos: Path | None) -> list[Action]:
    """Actions of EPIC_100_train.csv or EPIC_100_validation.csv; verbs and nouns are class numbers, as text.

    Videos lie as they are distributed: FOLDER/P01/videos/P01_01.MP4. Raises ManifestError if something is
    missing or malformed; the error names the line.
    """
    if videos is None:
        raise ManifestError(
            f"{source}: EPIC-KITCHENS names no files; give the folder of its videos as data.videos"
        )
    with source.open(newline="") as file:
        rows = csv.DictReader(file)
        # Checked once, so that a wrong file is one sentence and not a KeyError of its first row.
        missing = [name for name in EPIC_COLUMNS if name not in (rows.fieldnames or [])]
        if missing:
            raise ManifestError(
                f"{source}: no column {', '.join(missing)}; expected the public EPIC-KITCHENS-100 annotations"
            )
        return [epic_action(source, rows.line_num, row, videos) for row in rows]


def epic_action(source: Path, line: int, row: dict[str, str], videos: Path) -> Action:
    """One row as an action. Raises ManifestError."""
    # `csv` keeps surplus values under the key None, and fills missing ones with None.
    if None in row or None in row.values():
        raise ManifestError(
            f"{source}, line {line}: not as many values as the header names columns; is the file cut off?"
        )
    path = videos / row["participant_id"] / "videos" / f"{row['video_id']}.MP4"
    try:
        start = parse_timestamp(row["start_timestamp"])
        stop = parse_timestamp(row["stop_timestamp"])
        for name in ("verb_class", "noun_class"):
            int(row[name])  # only a check: class names are texts
    except ValueError as error:
        raise ManifestError(
            f"{source}, line {line}: {error}; expected times as HH:MM:SS.sss and classes as numbers"
        ) from error
    # The foreseen moment is a share of the action, so the action must have a length.
    if not 0 <= start < stop:
        raise ManifestError(
            f"{source}, line {line}: the action runs from {start} s to {stop} s; expected it to last"
        )
    return Action(path, start, stop, row["verb_class"], row["noun_class"])


def parse_timestamp(timestamp: str) -> float:
    """HH:MM:SS.sss in seconds. Raises ValueError for another format."""
    hours, minutes, seconds = timestamp.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)

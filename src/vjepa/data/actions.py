"""Actions in long videos, each from `start` to `stop`, of a verb and a noun: what anticipation foresees.

Two sources become the same list: the CSVs of EPIC-KITCHENS-100 and the demo world's event log.

Of the demo world's log, a verb is what the arm does: grasped, lifted, released, dropped, entered tray. What else it notes, that
objects become hidden and visible, is mostly the arm's passing between them and the camera. A noun says which object: by its
place, the left, middle or right third of the picture; or by its colour or shape, which the demo's encoder does not tell.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vjepa.data.manifest import ManifestError
from vjepa.pose import euler_to_matrix

Noun = Literal["place", "colour", "shape"]

EPIC_COLUMNS = ("participant_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class", "verb", "noun")
DONE = ("grasped", "lifted", "released", "dropped", "entered tray")
PLACES = ("left", "middle", "right")
STATES_PER_SECOND = 4  # in the demo world's .npz, as actions


@dataclass(frozen=True)
class Action:
    """What happens in a video from `start` to `stop` (seconds)."""

    path: Path
    start: float
    stop: float
    verb: str
    noun: str


@dataclass(frozen=True)
class Vocabulary:
    """The classes: verbs, nouns, and the pairs of them that occur in training; behind these, where it is widened, others."""

    verbs: tuple[str, ...]
    nouns: tuple[str, ...]
    actions: tuple[tuple[str, str], ...]

    @property
    def sizes(self) -> tuple[int, int, int]:
        return len(self.verbs), len(self.nouns), len(self.actions)

    @cached_property
    def places(self) -> tuple[dict, dict, dict]:
        return tuple({name: i for i, name in enumerate(names)} for names in (self.verbs, self.nouns, self.actions))

    def labels(self, action: Action) -> tuple[int, int, int]:
        """Verb, noun and pair as class numbers; -1 for what it does not hold."""
        names = action.verb, action.noun, (action.verb, action.noun)
        return tuple(places.get(name, -1) for places, name in zip(self.places, names, strict=True))

    def widened(self, actions: Sequence[Action]) -> "Vocabulary":
        """The same numbers for the same classes, and further ones for what else occurs in `actions`."""
        other = vocabulary(actions)
        pairs = (self.verbs, other.verbs), (self.nouns, other.nouns), (self.actions, other.actions)
        return Vocabulary(*(mine + tuple(name for name in theirs if name not in set(mine)) for mine, theirs in pairs))


def vocabulary(actions: Sequence[Action]) -> Vocabulary:
    """Of the training actions, in sorted order; numbers sort as numbers."""
    verbs, nouns = ({getattr(action, kind) for action in actions} for kind in ("verb", "noun"))
    pairs = {(action.verb, action.noun) for action in actions}
    return Vocabulary(tuple(sorted(verbs, key=natural)), tuple(sorted(nouns, key=natural)),
                      tuple(sorted(pairs, key=lambda pair: (natural(pair[0]), natural(pair[1])))))  # fmt: skip


def natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (-1, name)


def read_actions(source: Path, videos: Path | None, noun: Noun = "place") -> list[Action]:
    """Read an EPIC-KITCHENS-100 `.csv` (with the folder of its videos) or a demo world's `events.jsonl` (with
    what its nouns are).
    Raises ManifestError for what is missing or malformed, with file and line."""
    if not source.exists():
        raise ManifestError(f"{source}: no such file")
    actions = read_epic(source, videos) if source.suffix == ".csv" else read_events(source, noun)
    if not actions:
        raise ManifestError(f"{source}: there are no actions; expected one or more")
    return actions


def read_epic(source: Path, videos: Path | None) -> list[Action]:
    """The challenge's annotations (EPIC_100_train.csv, EPIC_100_validation.csv). Videos lie as they are distributed:
    FOLDER/P01/videos/P01_01.MP4. Classes are the files' numbers."""
    if videos is None:
        raise ManifestError(f"{source}: EPIC-KITCHENS names no files; give the folder of its videos as data.videos")
    with source.open(newline="") as file:
        rows = csv.DictReader(file)
        missing = [name for name in EPIC_COLUMNS if name not in (rows.fieldnames or [])]
        if missing:
            raise ManifestError(f"{source}: no column {', '.join(missing)}; expected the public EPIC-KITCHENS-100 annotations")
        return [epic_action(source, rows.line_num, row, videos) for row in rows]


def epic_action(source: Path, line: int, row: dict[str, str], videos: Path) -> Action:
    if None in row or None in row.values():
        raise ManifestError(f"{source}, line {line}: not as many values as the header names columns; is the file cut off?")
    path = videos / row["participant_id"] / "videos" / f"{row['video_id']}.MP4"
    try:
        start, stop = (seconds(row[f"{end}_timestamp"]) for end in ("start", "stop"))
        int(row["verb_class"]), int(row["noun_class"])
    except ValueError as error:
        raise ManifestError(f"{source}, line {line}: {error}; expected times as HH:MM:SS.sss and classes as numbers") from error
    if not 0 <= start < stop:
        raise ManifestError(f"{source}, line {line}: the action runs from {start} s to {stop} s; expected it to last")
    return Action(path, start, stop, row["verb_class"], row["noun_class"])


def seconds(timestamp: str) -> float:
    """Of HH:MM:SS.sss."""
    hours, minutes, rest = timestamp.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def read_events(source: Path, noun: Noun) -> list[Action]:
    """The demo world's log: what the arm did to which object."""
    actions = []
    for line, text in enumerate(source.read_text().splitlines(), start=1):
        try:
            episode = json.loads(text)
            actions += episode_actions(source.parent / episode["path"], episode["events"], noun)
        except FileNotFoundError as error:
            what = f"{error.filename} is missing, which says where the hand was; make the episodes again, or choose another"
            raise ManifestError(f"{source}, line {line}: {what} data.noun") from error
        except KeyError as error:
            raise ManifestError(f"{source}, line {line}: no {error}; expected an episode of a demo world's log") from error
        except (json.JSONDecodeError, TypeError) as error:
            raise ManifestError(f"{source}, line {line}: no episode of a demo world's log ({error})") from error
    return actions


def episode_actions(path: Path, events: list[dict], noun: Noun) -> list[Action]:
    """One for every moment at which something is done to an object; what the log says last of a moment says most (what is
    released over the tray enters it). An action lasts until the next one on its object, or the end of the skill."""
    done = {(event["time"], event["object"]["name"]): event for event in events if event["event"] in DONE}
    ends = [event["time"] for event in events if event["event"] == "end"]
    actions = []
    for (time, name), event in done.items():
        later = [other for other, thing in done if thing == name and other > time] + [end for end in ends if end > time]
        what = place(path, time) if noun == "place" else event["object"][noun]
        actions.append(Action(path, float(time), float(min(later, default=time + 0.25)), event["event"], what))
    return actions


def place(path: Path, time: float) -> str:
    """The third of the picture in which the hand is: where the object is to which it does something."""
    with np.load(path.with_suffix(".npz")) as numbers:
        camera, hand = torch.from_numpy(numbers["extrinsics"]), numbers["states"][round(time * STATES_PER_SECOND), :3]
        focal, _, middle = numbers["intrinsics"][0]
    x, _, depth = euler_to_matrix(camera[3:]).T @ (torch.from_numpy(hand) - camera[:3])
    column = float(focal * x / depth + middle) / (2 * middle)
    return PLACES[min(2, max(0, int(3 * column)))]

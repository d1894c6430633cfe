"""Actions from EPIC-KITCHENS-100 annotations, or from the demo world's log of events.

In the demo world a verb is what the arm does to an object: grasped, lifted, released, dropped, entered tray.
The log also notes when objects become hidden or visible. Those events are left out, because most of
them happen when the arm passes between an object and the camera. A noun says which object it is: by its place
(the left, middle or right third of the image), its colour or its shape. The demo's encoder does not encode
colour and shape.
"""

import json
import math
from pathlib import Path
from typing import Literal

import torch

from vjepa.benchmarks.actions import Action
from vjepa.benchmarks.epic_kitchens import read_epic
from vjepa.data.array_files import read_arrays
from vjepa.data.manifest_files import ManifestError
from vjepa.data.text_files import read_text
from vjepa.errors import damage_as_error, require
from vjepa.robots.euler import euler_to_matrix

Noun = Literal["place", "colour", "shape"]
VERBS = ("grasped", "lifted", "released", "dropped", "entered tray")
PLACES = ("left", "middle", "right")
STATES_PER_SECOND = 4
"""How often the demo world's .npz files hold the state of the robot."""


def read_actions(source: Path, videos: Path | None, noun: Noun = "place") -> list[Action]:
    """Actions of an EPIC-KITCHENS-100 `.csv`, or of a demo world's `events.jsonl`.

    videos: the folder of EPIC-KITCHENS' videos.
    noun: which property of an object is the demo world's noun.

    Raises ManifestError if something is missing or malformed; the error names file and line.
    """
    if not source.exists():
        raise ManifestError(f"{source}: no such file")
    is_epic = source.suffix.lower() == ".csv"
    actions = read_epic(source, videos) if is_epic else read_events(source, noun)
    # Without this the counting of classes would fail, and would not name the file.
    if not actions:
        raise ManifestError(f"{source}: there are no actions; expected one or more")
    return actions


def read_events(source: Path, noun: Noun) -> list[Action]:
    """Actions of the demo world's log, one episode a line. Raises ManifestError."""
    actions = []
    lines = enumerate(read_text(source).split("\n"), start=1)
    for line, text in ((line, text) for line, text in lines if text.strip()):
        place = f"{source}, line {line}"
        try:
            with damage_as_error(place, ManifestError, "expected an episode of a demo world's log"):
                episode = json.loads(text)
                actions += episode_actions(source.parent / episode["path"], episode["events"], noun)
        # Only the noun `place` reads the .npz file, so the other nouns do without it.
        except FileNotFoundError as error:
            what = f"{error.filename} is missing, which says where the hand was"
            raise ManifestError(
                f"{place}: {what}; make the episodes again, or choose another data.noun"
            ) from error
    return actions


def episode_actions(path: Path, events: list[dict], noun: Noun) -> list[Action]:
    """The actions of one episode.

    Each action lasts until the next one on the same object, or until the end of the skill.
    """
    # A later event of the same moment replaces an earlier one: what is released over the tray also enters it.
    done = {(event["time"], event["object"]["name"]): event for event in events if event["event"] in VERBS}
    ends = [event["time"] for event in events if event["event"] == "end"]
    actions = []
    for (start, name), event in done.items():
        later = [time for time, other in done if other == name and time > start]
        later += [end for end in ends if end > start]
        # Nothing follows an action of the last moment, so it gets the length of one state.
        stop = min(later, default=start + 1 / STATES_PER_SECOND)
        what = image_third(path, start) if noun == "place" else event["object"][noun]
        require(0 <= start < stop < math.inf, f"an action runs from {start} s to {stop} s")
        require(isinstance(what, str), f"the {noun} of an object is {what!r}")
        actions.append(Action(path, float(start), float(stop), event["event"], what))
    return actions


def image_third(path: Path, time: float) -> str:
    """The third of the image in which the hand is at that time, and so the object that it acts on."""
    recording = read_arrays(path.with_suffix(".npz"), ["extrinsics", "states", "intrinsics"])
    camera = torch.from_numpy(recording["extrinsics"])
    hand = torch.from_numpy(recording["states"][round(time * STATES_PER_SECOND), :3])
    # First row of the camera matrix: focal length, 0, column of the centre.
    focal, _, middle = recording["intrinsics"][0]

    # Into the camera's frame, then through the pinhole to a column of pixels.
    x, _, depth = euler_to_matrix(camera[3:]).T @ (hand - camera[:3])
    column = float(focal * x / depth + middle)
    width = 2 * middle
    # A hand outside of the image counts to the nearest third.
    return PLACES[min(2, max(0, int(3 * (column / width))))]

"""Action files."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from vjepa.benchmarks.actions import Action
from vjepa.benchmarks.epic_kitchens import read_epic
from vjepa.data.manifest_files import ManifestError
from vjepa.robots.pose import euler_to_matrix

Noun = Literal["place", "colour", "shape"]
DONE = ("grasped", "lifted", "released", "dropped", "entered tray")
PLACES = ("left", "middle", "right")
STATES_PER_SECOND = 4  # in the demo world's .npz, as actions


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
            raise ManifestError(
                f"{source}, line {line}: no {error}; expected an episode of a demo world's log"
            ) from error
        except (json.JSONDecodeError, TypeError) as error:
            raise ManifestError(
                f"{source}, line {line}: no episode of a demo world's log ({error})"
            ) from error
    return actions


def episode_actions(path: Path, events: list[dict], noun: Noun) -> list[Action]:
    """One for every moment at which something is done to an object; what the log says last of a moment says most (what is
    released over the tray enters it). An action lasts until the next one on its object, or the end of the skill."""
    done = {(event["time"], event["object"]["name"]): event for event in events if event["event"] in DONE}
    ends = [event["time"] for event in events if event["event"] == "end"]
    actions = []
    for (time, name), event in done.items():
        later = [other for other, thing in done if thing == name and other > time] + [
            end for end in ends if end > time
        ]
        what = place(path, time) if noun == "place" else event["object"][noun]
        actions.append(
            Action(path, float(time), float(min(later, default=time + 0.25)), event["event"], what)
        )
    return actions


def place(path: Path, time: float) -> str:
    """The third of the picture in which the hand is: where the object is to which it does something."""
    with np.load(path.with_suffix(".npz")) as numbers:
        camera, hand = (
            torch.from_numpy(numbers["extrinsics"]),
            numbers["states"][round(time * STATES_PER_SECOND), :3],
        )
        focal, _, middle = numbers["intrinsics"][0]
    x, _, depth = euler_to_matrix(camera[3:]).T @ (torch.from_numpy(hand) - camera[:3])
    column = float(focal * x / depth + middle) / (2 * middle)
    return PLACES[min(2, max(0, int(3 * column)))]

"""What we say of networks: in the metadata of an export, or beside networks in other people's layouts.

    checked_facts(path, {"parts": {"ema": {"width": 384}}, "info": {"scores": None}})

Anybody can write it, so nothing is believed before it has the form of what an export writes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vjepa.errors import UserError, require
from vjepa.weights.files import CheckpointError

OWN = "vjepa"
"""Name under which `weights convert` puts our settings beside networks in other people's layouts."""
MOST_DEPTH = 32
"""Values within each other."""
MOST_VALUES = 1 << 16
MOST_LETTERS = 1 << 22
"""Letters of all texts. Written again as an export's header, so many can still be read."""
MOST_NUMBER = 1 << 63


def checked_facts(path: Path, given: Any) -> dict[str, Any]:
    """The same with `parts` and `info`; what is null in the latter counts as not said.

    Raises CheckpointError unless they are plain values of JSON of the form that an export writes.
    """
    try:
        check_plain(given)
        check_form(given)
    except UserError as error:
        raise CheckpointError(f"{path}: its description is damaged ({error}); give another file") from error
    info = {key: value for key, value in given.get("info", {}).items() if value is not None}
    return {"parts": {}} | given | {"info": info}


def check_plain(given: Any) -> None:
    """Raise UserError for anything but values of JSON, and for more or deeper ones than anybody writes."""
    waiting = [(given, 0)]
    values = 0
    letters = 0
    while waiting:
        value, depth = waiting.pop()
        values += 1
        letters += len(value) if isinstance(value, str) else 0
        inner = inner_values(value)
        # A value that is reached by several ways is counted as often, so a circle has no end.
        few = values + len(waiting) + len(inner) < MOST_VALUES and letters < MOST_LETTERS
        require(few and depth < MOST_DEPTH, "it holds too many values, or values within values")
        waiting += [(one, depth + 1) for one in inner]


def inner_values(value: Any) -> list[Any]:
    """The values in a value, and their names. Raises UserError for one that JSON has not."""
    if isinstance(value, dict):
        require(all(isinstance(name, str) for name in value), "a name in it is no text")
        return [*value, *value.values()]
    if isinstance(value, list):
        return value
    require(is_plain(value), f"it holds a {type(value).__name__}, or a number without an end")
    return []


def is_plain(value: Any) -> bool:
    """Whether it is a single value of JSON, and a number that others can read."""
    small = not isinstance(value, int) or abs(value) < MOST_NUMBER
    return value is None or (isinstance(value, str | int | float) and small)


def check_form(given: Any) -> None:
    """Raise UserError unless plain values have the form of what an export writes."""
    require(isinstance(given, dict), f"it is a {type(given).__name__}")
    parts = given.get("parts", {})
    info = given.get("info", {})
    named = isinstance(parts, dict) and all(isinstance(part, dict) for part in parts.values())
    require(named and isinstance(info, dict), "its parts or its info are no settings by name")
    scores = info.get("scores") or {}
    numbers = isinstance(scores, dict) and all(type(score) in (int, float) for score in scores.values())
    require(numbers, "its scores are no numbers by name")
    notes = info.get("notes") or []
    require(
        isinstance(notes, list) and all(isinstance(note, str) for note in notes), "its notes are no texts"
    )


def without_other_clips(facts: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The facts in a config.json without clips of other frames or size than it names itself.

    A user may have changed these, by which transformers goes.
    """
    parts = dict(facts["parts"])
    for name, part in parts.items():
        if isinstance(part.get("schema"), dict):
            parts[name] = part | {"schema": without_other_clip(part["schema"], config)}
    return {**facts, "parts": parts, "info": without_other_clip(facts["info"], config)}


def without_other_clip(group: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The same of one group, under whose name `clip` such clips are."""
    clip = group.get("clip")
    if not isinstance(clip, dict):
        return group
    named = {"frames": config.get("frames_per_clip"), "size": config.get("crop_size")}
    same = all(value in (None, clip.get(key)) for key, value in named.items())
    return group if same else {key: value for key, value in group.items() if key != "clip"}

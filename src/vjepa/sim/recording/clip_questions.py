"""Questions about the labelled clips, and a description of each clip, from the manifest and the scene.

What the hand holds is not asked: at 64 pixels it is a few pixels wide, and even a ridge regression on the
pixels finds neither its colour nor its shape in clips that it was not fitted on.
"""

import colorsys
from collections.abc import Iterable, Iterator

import numpy as np

from vjepa.sim.recording.question_sets import Question, with_video
from vjepa.sim.recording.shots import CLASSES, DIRECTIONS
from vjepa.sim.world.scene import Scene

WORDS = {
    "move_left": "to the left",
    "move_right": "to the right",
    "move_away": "away from us",
    "move_toward": "towards us",
    "lift": "up",
    "lower": "down",
    "turn_clockwise": "clockwise",
    "turn_counterclockwise": "counterclockwise",
}
HUES = {"orange": 20, "green": 110, "blue": 200, "purple": 290}
"""Degrees on the colour wheel."""
HUE_RANGE = 30
"""Degrees around a hue within which a colour has its name. Colours between two names are not asked about."""
PALE = 0.2
"""Greatest saturation of a colour that is too pale to have a name."""


def about_clip(clip: dict[str, str], scene: Scene) -> Iterator[Question]:
    """What can be asked about one row of a manifest, filmed in the scene."""
    yield about_motion(clip)
    colour = hue_name(scene.materials["table"].colour)
    if colour:
        yield Question(clip["path"], "colour", "Which colour is the table?", colour, tuple(HUES))


def about_motion(clip: dict[str, str]) -> Question:
    """Which way the hand turns or moves. A clip and its reversal have the same question and options."""
    video = clip["path"]
    name = clip["label_name"]
    seed = clip["seed"]
    if name not in DIRECTIONS:
        question = "Which way does the hand turn, seen from above?"
        options = tuple(WORDS[turn] for turn in CLASSES[len(DIRECTIONS) :])
        return Question(video, "turn", question, WORDS[name], options, f"turn {seed}")

    # Four options: both ways along the true axis, and both along another one.
    axis = CLASSES.index(name) // 2
    other_axes = [number for number in range(len(DIRECTIONS) // 2) if number != axis]
    # A clip and its reversal have one seed, so they get the same second axis and thus the same options.
    other_axis = int(np.random.default_rng([int(seed), 2]).choice(other_axes))
    # In the order of the classes, which does not depend on the answer.
    classes = [CLASSES[2 * number + side] for number in sorted((axis, other_axis)) for side in (0, 1)]
    options = tuple(WORDS[direction] for direction in classes)
    question = "Which way does the hand move?"
    return Question(video, "direction", question, WORDS[name], options, f"direction {seed}")


def hue_name(colour: Iterable[float]) -> str:
    """The name of a colour (3,) in 0..1, empty if it is too pale or between two names."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
    # The hue of a grey is arbitrary.
    if saturation <= PALE:
        return ""
    for name, degrees in HUES.items():
        distance = abs((360 * hue - degrees + 180) % 360 - 180)  # around the wheel, either way
        if distance < HUE_RANGE:
            return name
    return ""


def description(clip: dict[str, str], scene: Scene) -> dict:
    """A description of a clip, as a conversation of one question and one answer."""
    name = clip["label_name"]
    motion = f"moves {WORDS[name]}" if name in DIRECTIONS else f"turns {WORDS[name]}"
    table = f"{hue_name(scene.materials['table'].colour)} table".lstrip()
    turns = [
        {"from": "human", "value": "What do you see?"},
        {"from": "gpt", "value": f"Above the {table} the hand {motion}."},
    ]
    return {"video": clip["path"], "conversations": with_video(turns)}

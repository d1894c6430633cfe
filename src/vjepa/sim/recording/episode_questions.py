"""Questions about the scripted episodes, from the scene at their start and the log of what happened."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator

from vjepa.sim.recording.question_sets import Question
from vjepa.sim.world.scene import Scene, SceneConfig, draw_scene

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
PUSHES = {"push_left": "to the left", "push_right": "to the right"}
PLACES = {"entered tray": "in the tray", "hidden": "behind the wall"}
"""Events after which an object is elsewhere than on the table, with the answers that they give."""
APART = 0.1
"""Least distance of two objects across the image for a question about left and right.

In units of the distance to the camera; about a quarter of half the image's width.
"""


def about_episode(episode: dict) -> Iterator[Question]:
    """What can be asked about one line of the event log."""
    # Another stream than those that drew the scene (seed) and the script ([seed, 1]).
    random = np.random.default_rng([episode["seed"], 2])
    video = f"episodes/{episode['path']}"
    # The scene is not stored. `DemoWorld.reset` drew it in this way for every scripted episode.
    scene = draw_scene(np.random.default_rng(episode["seed"]), SceneConfig())
    names = {thing["name"]: f"{thing['colour']} {thing['shape']}" for thing in episode["objects"]}
    count = NUMBERS[len(names)]
    yield Question(video, "count", "How many things are on the table?", count, NUMBERS[1:6])
    yield from side(video, scene, names, random)
    yield from order(video, episode["events"], names, random)
    yield from pushes(video, episode["events"], names)
    yield from whereabouts(video, episode["events"], names)


def side(video: str, scene: Scene, names: dict[str, str], random: Generator) -> Iterator[Question]:
    """Which of two objects is left of the other in the first image."""
    column_of = {thing.name: column(scene, thing.place) for thing in scene.things if thing.name in names}
    if len(column_of) < 2:
        return
    first, second = random.permutation(list(column_of))[:2]
    # No question where a viewer could not decide.
    if abs(column_of[first] - column_of[second]) > APART:
        question = f"At first, is the {names[first]} to the left or to the right of the {names[second]}?"
        answer = "to the left" if column_of[first] < column_of[second] else "to the right"
        yield Question(video, "side", question, answer, ("to the left", "to the right"))


def column(scene: Scene, place: Sequence[float]) -> float:
    """How far right of the image's middle a place (3,) in metres is seen, in units of its distance."""
    x, _, z = scene.camera.rotation.T @ np.subtract(place, scene.camera.position)
    return float(x / z)


def order(video: str, events: list[dict], names: dict[str, str], random: Generator) -> Iterator[Question]:
    """Which of two objects was handled first."""
    handled = [event["object"]["name"] for event in events if event["event"] == "start"]
    # Each object once, in the order of its first skill.
    handled = list(dict.fromkeys(handled))
    if len(handled) > 1:
        first, second = (names[name] for name in handled[:2])
        # In random order, or the first option would always be the answer.
        options = tuple(map(str, random.permutation([first, second])))
        question = f"Which did the hand reach for first, the {options[0]} or the {options[1]}?"
        yield Question(video, "before", question, first, options)


def pushes(video: str, events: list[dict], names: dict[str, str]) -> Iterator[Question]:
    """Which way each object was pushed, if it was pushed one way only."""
    ways: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["event"] == "start" and event["skill"] in PUSHES:
            ways[event["object"]["name"]].add(PUSHES[event["skill"]])
    for name, way in ways.items():
        if len(way) == 1:
            question = f"Which way is the {names[name]} pushed?"
            yield Question(video, "pushed", question, *way, tuple(PUSHES.values()))


def whereabouts(video: str, events: list[dict], names: dict[str, str]) -> Iterator[Question]:
    """Where each object that was moved is in the end."""
    places: dict[str, str] = {}
    for event in events:
        name = event["object"]["name"]
        what = event["event"]
        if what in PLACES:
            places[name] = PLACES[what]
        # An object that moves without reaching a place is still on the table.
        elif what in ("left tray", "visible") or name not in places:
            places[name] = "on the table"

    options = ("on the table", *PLACES.values())
    for name, place in places.items():
        yield Question(video, "where", f"Where is the {names[name]} in the end?", place, options)

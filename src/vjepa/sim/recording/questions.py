"""Questions about the demo world, and their answers: from the labels of its clips and the event log of its episodes.

    python -m vjepa record-questions --world data/demo

writes conversations as `vjepa.language.conversations` reads them: `DIR/captions.jsonl` describes the clips of the training split, and
`DIR/{train,val,test}.jsonl` ask about the clips (and, where there are any, the episodes) of each split. The answers of each
kind of question are equally frequent in each split, so that no answer is a better guess than another. A clip and its
reversal have the same `pair` where they have opposite answers.
"""

import colorsys
import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vjepa.errors import UserError
from vjepa.sim.recording.motion_clips import CLASSES, DIRECTIONS, MotionClipConfig, shot_of
from vjepa.sim.world.scene import Scene, SceneConfig, draw_scene

SPLITS = ("train", "val", "test")
WORDS = dict(
    zip(CLASSES, ("to the left", "to the right", "away from us", "towards us", "up", "down"), strict=False)
)
WORDS |= {"turn_clockwise": "clockwise", "turn_counterclockwise": "counterclockwise"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
PUSHES = {"push_left": "to the left", "push_right": "to the right"}
PLACES = {"entered tray": "in the tray", "hidden": "behind the wall"}
HUES = {"orange": 20, "green": 110, "blue": 200, "purple": 290}
"""Degrees on the colour wheel. What is further than 30 from all of them, or paler than a saturation of 0.2, is not asked."""


class Question(NamedTuple):
    video: str
    kind: str
    question: str
    answer: str
    options: tuple[str, ...]
    pair: str = ""

    @property
    def row(self) -> dict:
        said = [
            {"from": "human", "value": f"<video>\n{self.question}"},
            {"from": "gpt", "value": self.answer},
        ]
        return {"video": self.video, "conversations": said, **self._asdict()}


# -- clips -------------------------------------------------------------------------------------------------------------


def about_clip(clip: dict[str, str], scene: Scene) -> Iterator[Question]:
    """What can be asked about one row of a manifest, filmed in the scene.

    Not what the hand holds: at 64 pixels it is a few pixels wide, and even a ridge regression on the pixels themselves finds
    neither its colour nor its shape in clips that it was not fitted on."""
    random = np.random.default_rng([int(clip["seed"]), 2])  # the same for a clip and its reversal
    video, name = clip["path"], clip["label_name"]
    if name in DIRECTIONS:
        axis = CLASSES.index(name) // 2
        other = int(random.choice([number for number in range(len(DIRECTIONS) // 2) if number != axis]))
        options = tuple(
            WORDS[CLASSES[2 * number + side]] for number in sorted((axis, other)) for side in (0, 1)
        )
        yield Question(
            video,
            "direction",
            "Which way does the hand move?",
            WORDS[name],
            options,
            f"direction {clip['seed']}",
        )
    else:
        options = tuple(WORDS[turn] for turn in CLASSES[len(DIRECTIONS) :])
        asked = "Which way does the hand turn, seen from above?"
        yield Question(video, "turn", asked, WORDS[name], options, f"turn {clip['seed']}")
    table = hue_name(scene.materials["table"].colour)
    if table:
        yield Question(video, "colour", "Which colour is the table?", table, tuple(HUES))


def hue_name(colour: Iterable[float]) -> str:
    """The name of a colour (3,) in 0..1, empty if it is too pale or between two names."""
    hue, saturation, _ = colorsys.rgb_to_hsv(*colour)
    near = [name for name, degrees in HUES.items() if abs((360 * hue - degrees + 180) % 360 - 180) < 30]
    return near[0] if near and saturation > 0.2 else ""


def description(clip: dict[str, str], scene: Scene) -> dict:
    """What is to be seen in a clip, as a conversation."""
    name = clip["label_name"]
    moves = f"moves {WORDS[name]}" if name in DIRECTIONS else f"turns {WORDS[name]}"
    table = " ".join(["the", hue_name(scene.materials["table"].colour), "table"]).replace("  ", " ")
    text = f"Above {table} the hand {moves}."
    said = [{"from": "human", "value": "<video>\nWhat do you see?"}, {"from": "gpt", "value": text}]
    return {"video": clip["path"], "conversations": said}


# -- episodes ----------------------------------------------------------------------------------------------------------


def about_episode(episode: dict) -> Iterator[Question]:
    """What can be asked about one line of the event log."""
    random, video = np.random.default_rng([episode["seed"], 2]), f"episodes/{episode['path']}"
    scene = draw_scene(np.random.default_rng(episode["seed"]), SceneConfig())
    names = {thing["name"]: f"{thing['colour']} {thing['shape']}" for thing in episode["objects"]}
    count = NUMBERS[len(names)]
    yield Question(video, "count", "How many things are on the table?", count, NUMBERS[1:6])
    yield from side(video, scene, names, random)
    yield from order(video, episode["events"], names, random)
    yield from pushes(video, episode["events"], names)
    yield from whereabouts(video, episode["events"], names)


def side(video: str, scene: Scene, names: dict[str, str], random: np.random.Generator) -> Iterator[Question]:
    """Left or right of one another in the first picture."""
    across = {thing.name: columns(scene, thing.place) for thing in scene.things if thing.name in names}
    if len(across) < 2:
        return
    one, other = random.permutation(list(across))[:2]
    if (
        abs(across[one] - across[other]) > 0.1
    ):  # of the distance to the camera, about a quarter of the picture's half width
        asked = f"At first, is the {names[one]} to the left or to the right of the {names[other]}?"
        answer = "to the left" if across[one] < across[other] else "to the right"
        yield Question(video, "side", asked, answer, ("to the left", "to the right"))


def columns(scene: Scene, place: Sequence[float]) -> float:
    """How far right of the picture's middle a place (3,) in metres is seen, over its distance."""
    x, _, z = scene.camera.rotation.T @ np.subtract(place, scene.camera.position)
    return float(x / z)


def order(
    video: str, events: list[dict], names: dict[str, str], random: np.random.Generator
) -> Iterator[Question]:
    """What happened before what: whose turn it was first."""
    handled = list(dict.fromkeys(event["object"]["name"] for event in events if event["event"] == "start"))
    if len(handled) > 1:
        first, second = (names[name] for name in handled[:2])
        options = tuple(map(str, random.permutation([first, second])))
        asked = f"Which did the hand reach for first, the {options[0]} or the {options[1]}?"
        yield Question(video, "before", asked, first, options)


def pushes(video: str, events: list[dict], names: dict[str, str]) -> Iterator[Question]:
    """Which way each thing was pushed, if it was pushed one way only."""
    ways: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event["event"] == "start" and event["skill"] in PUSHES:
            ways[event["object"]["name"]].add(PUSHES[event["skill"]])
    for name, way in ways.items():
        if len(way) == 1:
            yield Question(
                video, "pushed", f"Which way is the {names[name]} pushed?", *way, tuple(PUSHES.values())
            )


def whereabouts(video: str, events: list[dict], names: dict[str, str]) -> Iterator[Question]:
    """Where each thing that was moved is in the end."""
    places: dict[str, str] = {}
    for event in events:
        name, what = event["object"]["name"], event["event"]
        if what in PLACES:
            places[name] = PLACES[what]
        elif what in ("left tray", "visible") or name not in places:
            places[name] = "on the table"
    for name, place in places.items():
        options = ("on the table", *PLACES.values())
        yield Question(video, "where", f"Where is the {names[name]} in the end?", place, options)


# -- files -------------------------------------------------------------------------------------------------------------


def balanced(questions: Sequence[Question], seed: int = 0) -> list[Question]:
    """As many of each answer to a kind of question; pairs stay whole."""
    groups: dict[str, dict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for question in questions:
        two = question.kind == "before"  # its options are named in the question, in either order
        groups[question.kind][
            str(question.options.index(question.answer)) if two else question.answer
        ].append(question)
    random, kept = np.random.default_rng(seed), set()
    for answers in groups.values():
        fewest = min(map(len, answers.values()))
        for same in answers.values():
            paired = bool(same[0].pair)  # already balanced: the reversal has the opposite answer
            chosen = range(len(same)) if paired else random.permutation(len(same))[:fewest]
            kept |= {same[i] for i in chosen}
    return [question for question in questions if question in kept]


def conversations(questions: Sequence[Question], seed: int = 0) -> list[dict]:
    """All questions about a video in one conversation, in a random order."""
    random, videos = np.random.default_rng(seed), defaultdict(list)
    for question in questions:
        videos[question.video].append(question)
    rows = []
    for video, asked in videos.items():
        said = [turn for i in random.permutation(len(asked)) for turn in asked[i].row["conversations"]]
        said = [{**turn, "value": turn["value"].removeprefix("<video>\n")} for turn in said]
        rows.append({"video": video, "conversations": said})
    return rows


def write_questions(world: Path) -> dict[str, int]:
    """Write all files; how many rows each has."""
    if not (world / "done.json").exists():
        raise UserError(
            f"{world} holds no finished demo world: run python -m vjepa record-clips --out {world}"
        )
    config = clip_config(json.loads((world / "done.json").read_text()))
    log, written = world / "episodes" / "events.jsonl", {}
    episodes = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for number, split in enumerate(SPLITS):
        file = world / f"{split}.csv"
        rows = list(csv.DictReader(file.open(newline=""))) if file.exists() else []
        clips = [(clip, shot_of(clip, config).scene) for clip in rows]
        mine = [
            episode
            for i, episode in enumerate(episodes)
            if (0 if i % 10 < 7 else 1 if i % 10 == 7 else 2) == number
        ]
        questions = [q for clip in clips for q in about_clip(*clip)] + [
            q for episode in mine for q in about_episode(episode)
        ]
        questions = balanced(questions)
        asked = conversations(questions) if split == "train" else [question.row for question in questions]
        written[f"{split}.jsonl"] = write_rows(world / f"{split}.jsonl", asked)
        if split == "train":
            written["captions.jsonl"] = write_rows(world / "captions.jsonl", starmap(description, clips))
    return written


def clip_config(about: dict) -> MotionClipConfig:
    """How a world's clips were filmed, as its `done.json` says. JSON knows no tuples."""
    said = {field.name: about[field.name] for field in fields(MotionClipConfig) if field.name in about}
    return MotionClipConfig(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    )


def write_rows(file: Path, rows: Iterable[dict]) -> int:
    lines = [json.dumps(row) + "\n" for row in rows]
    file.write_text("".join(lines))
    return len(lines)


def record_questions(*, world: Path) -> None:
    """Write captions and questions about the clips of a demo world.

    Args:
        world: Folder of a finished demo world.
    """
    written = write_questions(world)
    print(", ".join(f"{name}: {count} rows" for name, count in written.items()))

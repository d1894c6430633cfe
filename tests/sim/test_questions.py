"""Questions about the demo world: true, balanced, paired, readable as conversations. Nothing is rendered."""

import colorsys
import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the demo world needs the sim extra")

from vjepa.__main__ import main
from vjepa.errors import UserError
from vjepa.language.conversation_files import read_captions
from vjepa.sim.recording.clip_questions import HUES, about_clip, hue_name
from vjepa.sim.recording.episode_questions import about_episode, column
from vjepa.sim.recording.question_sets import balanced
from vjepa.sim.recording.questions import record_questions, write_questions
from vjepa.sim.recording.shots import CLASSES, MotionClipConfig, draw_shot, facts
from vjepa.sim.world.looks import Viewpoints, plain
from vjepa.sim.world.scene import Scene, SceneConfig, draw_scene


def clip(label: int, seed: int, held: str = "red cube", split: str = "train") -> dict[str, str]:
    name = CLASSES[label]
    return {
        "path": f"{split}/{seed:06d}_{name}.mp4",
        "label": str(label),
        "label_name": name,
        "seed": str(seed),
        "held": held,
    }


def filmed(label: int, seed: int, split: str) -> dict[str, str]:
    """The manifest's row of a real clip, which says as much as is needed to draw its scene again."""
    shot = draw_shot(np.random.default_rng([seed, 0]), label // 2, MotionClipConfig())
    about = facts(shot.passage, shot.thing)
    numbers = {name: str(about[name]) for name in ("metres", "radians", "moving_seconds")}
    return clip(label, seed, about["held"], split) | numbers


def above(colour: str, seed: int = 0) -> Scene:
    """A scene with a table of that colour, grey if it has no name."""
    scene = draw_scene(np.random.default_rng(seed), SceneConfig())
    rgb = np.array(colorsys.hsv_to_rgb(HUES[colour] / 360, 0.4, 0.8)) if colour else np.full(3, 0.5)
    return replace(scene, materials=scene.materials | {"table": plain(rgb)})


def event(name: str, what: str, skill: str = "lift") -> dict:
    return {"time": 0.0, "skill": skill, "object": {"name": name}, "event": what}


def episode(seed: int, *events: dict) -> dict:
    scene = draw_scene(np.random.default_rng(seed), SceneConfig())
    return {
        "path": "000000.mp4",
        "seed": seed,
        "objects": [t.label for t in scene.things],
        "events": list(events),
    }


def test_a_clip_and_its_reversal_are_asked_the_same_and_answer_the_opposite():
    for label in range(0, 8, 2):
        forwards, backwards = (
            list(about_clip(clip(number, seed=7), above("blue"))) for number in (label, label + 1)
        )
        for one, other in zip(forwards, backwards, strict=True):
            assert (one.question, one.options, one.pair) == (other.question, other.options, other.pair)
            assert (one.answer != other.answer) == bool(one.pair)
        options = forwards[0].options
        assert forwards[0].pair and {forwards[0].answer, backwards[0].answer} <= set(options)


def test_the_table_is_asked_only_where_its_colour_has_a_name():
    kinds = [{q.kind: q.answer for q in about_clip(clip(0, 1), above(colour))} for colour in ("blue", "")]
    assert kinds == [{"direction": "to the left", "colour": "blue"}, {"direction": "to the left"}]


def test_options_hold_the_answer_once():
    for seed in range(40):
        for question in about_clip(clip(seed % 8, seed, "green box"), above("green")):
            assert question.options.count(question.answer) == 1
            assert len(set(question.options)) == len(question.options) <= 4


def test_the_event_log_tells_order_and_whereabouts():
    seed = next(s for s in range(100) if len(draw_scene(np.random.default_rng(s), SceneConfig()).things) == 3)
    first, second, _ = (t.name for t in draw_scene(np.random.default_rng(seed), SceneConfig()).things)
    happened = ((first, "start"), (first, "hidden"), (first, "visible"))
    happened += ((second, "start"), (second, "grasped"), (second, "entered tray"))
    log = episode(seed, *(event(name, what) for name, what in happened))
    names = {thing["name"]: f"{thing['colour']} {thing['shape']}" for thing in log["objects"]}
    questions = {}
    for question in about_episode(log):
        questions.setdefault(question.kind, []).append(question)
    count, before = questions["count"][0], questions["before"][0]
    assert count.answer == "three" and count.video == "episodes/000000.mp4"
    assert before.answer == names[first] and set(before.options) == {names[first], names[second]}
    places = {question.question: question.answer for question in questions["where"]}
    assert places == {
        f"Where is the {names[first]} in the end?": "on the table",
        f"Where is the {names[second]} in the end?": "in the tray",
    }


def test_a_push_is_asked_if_there_was_one_way():
    seed = next(s for s in range(100) if len(draw_scene(np.random.default_rng(s), SceneConfig()).things) == 3)
    first, second, third = (t.name for t in draw_scene(np.random.default_rng(seed), SceneConfig()).things)
    begun = ((first, "push_left"), (second, "push_right"), (second, "push_left"), (third, "lift"))
    log = episode(seed, *(event(name, "start", skill) for name, skill in begun))
    asked = [question for question in about_episode(log) if question.kind == "pushed"]
    assert [question.answer for question in asked] == ["to the left"] and log["objects"][0][
        "colour"
    ] in asked[0].question


def test_left_is_left_in_the_image():
    for seed in range(30):
        scene = draw_scene(np.random.default_rng(seed), SceneConfig(camera=Viewpoints(azimuth=1.0)))
        assert column(scene, (0.45, -0.2, 0.0)) < column(scene, (0.45, 0.0, 0.0))  # -y is the image's left
        for question in about_episode(episode(seed)):
            if question.kind == "side":
                assert question.answer in question.options


def test_answers_of_a_kind_are_equally_frequent():
    tables = ["orange"] * 12 + ["green"] * 4 + ["blue"] * 8 + ["purple"] * 6 + [""] * 10
    clips = [(clip((2 * (i // 2) + i % 2) % 8, i // 2), above(table)) for i, table in enumerate(tables)]
    kept = balanced([question for row in clips for question in about_clip(*row)])
    counts = Counter((question.kind, question.answer) for question in kept)
    for kind in ("direction", "colour", "turn"):
        assert len({count for (of, _), count in counts.items() if of == kind}) == 1, counts
    pairs = Counter(question.pair for question in kept if question.pair)
    assert set(pairs.values()) == {2}


@pytest.fixture
def world(tmp_path) -> Path:
    for split in ("train", "val", "test"):
        rows = [filmed(label, 10 * pair + label // 2, split) for pair in range(2) for label in range(8)]
        with (tmp_path / f"{split}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "done.json").write_text("{}")
    return tmp_path


def test_files_are_conversations_and_the_same_every_time(world, capsys):
    main(["data", "record-questions", "--world", str(world)])
    assert "train.jsonl: 16 rows" in capsys.readouterr().out
    before = {file.name: file.read_bytes() for file in world.glob("*.jsonl")}
    write_questions(world)
    assert before == {file.name: file.read_bytes() for file in world.glob("*.jsonl")}
    train, test = read_captions(world / "train.jsonl"), read_captions(world / "test.jsonl")
    assert all(len(train.row(i).turns) >= 2 and not train.row(i).options for i in range(len(train)))
    assert all(test.row(i).options and test.row(i).kind for i in range(len(test)))
    assert test.row(0).media[0].path.parent == world / "test"
    described = read_captions(world / "captions.jsonl").row(0)
    assert described.answer.startswith("Above the ") and described.answer.endswith(
        "table the hand moves to the left."
    )
    assert json.loads((world / "test.jsonl").read_text().splitlines()[0])["pair"]


def test_rows_of_another_world_are_one_sentence(world, capsys):
    text = (world / "test.csv").read_text()
    (world / "test.csv").write_text(text.replace(text.splitlines()[1].split(",")[-1], "9.9", 1))
    with pytest.raises(SystemExit, match="2"):
        main(["data", "record-questions", "--world", str(world)])
    assert "was not filmed by this version of the demo world; make the clips anew" in capsys.readouterr().err


def test_colours_between_two_names_and_pale_ones_have_no_name():
    named = [
        hue_name(colorsys.hsv_to_rgb(degrees / 360, 0.4, 0.8))
        for degrees in (350, 20, 65, 110, 200, 245, 290)
    ]
    assert named == ["", "orange", "", "green", "blue", "", "purple"]
    assert hue_name(colorsys.hsv_to_rgb(20 / 360, 0.1, 0.8)) == ""


def test_an_unfinished_world_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="holds no finished demo world"):
        record_questions(world=tmp_path)

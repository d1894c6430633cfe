"""Writes questions about a recorded demo world, with their answers, as conversations.

    vjepa data record-questions --world data/demo

The files are of the format that `vjepa.language.conversations` reads. `DIR/captions.jsonl` describes the
clips of the training split. `DIR/{train,val,test}.jsonl` ask about the clips, and the episodes if there are
any, of each split. In a split, the answers to each kind of question are equally frequent. A clip and its
reversal have the same `pair` where their answers are opposite.
"""

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from itertools import starmap
from pathlib import Path

from vjepa.errors import damage_as_error, require
from vjepa.sim.recording.clip_questions import about_clip, description
from vjepa.sim.recording.dataset_folder import SPLITS
from vjepa.sim.recording.episode_questions import about_episode
from vjepa.sim.recording.question_sets import balanced, conversations
from vjepa.sim.recording.shots import MotionClipConfig, shot_of


def record_questions(*, world: Path) -> None:
    """Write captions and questions about the clips of a demo world.

    Args:
        world: Folder of a finished demo world.
    """
    written = write_questions(world)
    require(any(written.values()), f"{world} holds no clips and no episodes to ask about; record some")
    print(", ".join(f"{name}: {count} rows" for name, count in written.items()))


def write_questions(world: Path) -> dict[str, int]:
    """Write all files. Returns how many rows each has. Raises UserError if the world is not finished."""
    require(
        (world / "done.json").exists(),
        f"{world} holds no finished demo world: run vjepa data record-clips --out {world}",
    )
    config = clip_config(json.loads((world / "done.json").read_text()))
    episodes = read_episodes(world)

    counts = {}
    for split in SPLITS:
        # Scenes are not stored: they are drawn again from the seeds.
        clips = [(clip, shot_of(clip, config).scene) for clip in read_clips(world, split)]
        questions = [question for clip, scene in clips for question in about_clip(clip, scene)]
        questions += [question for episode in episodes[split] for question in about_episode(episode)]
        questions = balanced(questions)
        # Training reads a video once and answers all its questions. Tests ask each question by itself.
        rows = conversations(questions) if split == "train" else [question.row for question in questions]
        counts[f"{split}.jsonl"] = write_rows(world / f"{split}.jsonl", rows)
        if split == "train":
            counts["captions.jsonl"] = write_rows(world / "captions.jsonl", starmap(description, clips))
    return counts


def clip_config(settings: dict) -> MotionClipConfig:
    """How a world's clips were filmed, from its `done.json`."""
    # The file also holds the settings of the recorder and its version.
    names = {field.name for field in fields(MotionClipConfig)}
    # JSON has no tuples: they come back as lists.
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name in names
    }
    return MotionClipConfig(**values)


def read_clips(world: Path, split: str) -> list[dict[str, str]]:
    """Rows of a split's manifest; none if there is no such file."""
    manifest = world / f"{split}.csv"
    if not manifest.exists():
        return []
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def read_episodes(world: Path) -> dict[str, list[dict]]:
    """Lines of the event log by split: of every ten episodes seven train, one validates and two test."""
    log = world / "episodes" / "events.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    episodes: dict[str, list[dict]] = {split: [] for split in SPLITS}
    split_of = ("train",) * 7 + ("val", "test", "test")
    # By number, so that an episode keeps its split however many are recorded.
    for number, line in enumerate(lines):
        with damage_as_error(f"{log}, line {number + 1}", advice="record the episodes again"):
            episodes[split_of[number % 10]].append(json.loads(line))
    return episodes


def write_rows(file: Path, rows: Iterable[dict]) -> int:
    """Write one line of JSON for each row. Returns how many there are."""
    lines = [json.dumps(row) + "\n" for row in rows]
    file.write_text("".join(lines))
    return len(lines)

"""Records labelled clips and scripted episodes of the demo world: the same bytes for the same seed.

    vjepa data record-clips --out data/demo --clips 1600

`DIR/{train,val,test}.csv` list the clips `DIR/{train,val,test}/*.mp4`. Every pair of clips also leaves
`DIR/rows/<split>/<index>.json`, written after its two videos, so that an interrupted run knows what it has.

Scripted episodes go to `DIR/episodes/*.mp4`. Actions, states and camera are in a `.npz` of the same name.
Every episode has a line in `DIR/episodes/events.jsonl`: path, seed, objects and the event log.
"""

import csv
import json
import os
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vjepa.drawing.film import write_mp4
from vjepa.errors import UserError, check_seed, check_workers, require
from vjepa.sim.recording.dataset_folder import (
    MAX_SEEDS,
    SPLITS,
    check_recording,
    claimed,
    identity_of,
    spread,
    write_text,
)
from vjepa.sim.recording.motion_clips import film_pair
from vjepa.sim.recording.scripted_episodes import play_script
from vjepa.sim.recording.shots import CLASSES, MotionClipConfig
from vjepa.sim.world.env import WorldConfig

PAIRS = len(CLASSES) // 2
VERSION = 2
"""Raise it when the same settings would give other images: `claimed` then refuses old folders."""


@dataclass(frozen=True, kw_only=True)
class RecordConfig(MotionClipConfig):
    """Labelled motion clips in time-reversed pairs, eight classes, split into train, val and test."""

    out: Path
    """Folder for the videos and manifests; made if it does not exist."""
    clips: int = 1600
    """Clips in all, a multiple of 8: the classes are balanced in every split. Zero for none."""
    val: float = 0.11
    """Share of the clips for validation."""
    test: float = 0.15
    """Share of the clips for testing."""
    episodes: int = 0
    """Scripted episodes with an event log to record besides the clips."""
    seed: int = 0
    """Different seeds give different worlds: no world belongs to two seeds."""
    workers: int = max(1, os.cpu_count() or 1)
    """Processes to spread the work over; 1 works in this process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        # Two clips share a seed, so a split has room for twice as many clips as seeds.
        if self.clips % len(CLASSES) or not 0 <= self.clips <= 2 * MAX_SEEDS:
            raise UserError(
                f"clips={self.clips} should be a multiple of {len(CLASSES)}, so that classes are balanced"
            )
        check_recording(self.size, self.val, self.test, "clips")
        check_seed(self.seed)
        check_workers(self.workers, 1)
        require(0 <= self.episodes <= MAX_SEEDS, f"episodes={self.episodes}: expected 0 to {MAX_SEEDS}")

    @property
    def identity(self) -> dict:
        """What decides the bytes of the folder."""
        return identity_of(asdict(self), VERSION)


def record(config: RecordConfig) -> Path:
    """Record what is missing in the folder `out`, and return it. A finished folder stays as it is."""
    with claimed(config.out, config.identity) as finished:
        if not finished:
            record_clips(config)
            record_episodes(config)
    return config.out


def record_clips(config: RecordConfig) -> None:
    """Film the pairs that are missing, and write the manifest of every split."""
    jobs = [(split, index) for split, count in pairs_per_split(config).items() for index in range(count)]
    missing = [job for job in jobs if not row_file(config.out, *job).exists()]
    spread(partial(record_pair, config), missing, config.workers, "pairs of clips")
    for split in SPLITS:
        write_manifest(config.out, split, [row_file(config.out, *job) for job in jobs if job[0] == split])


def record_episodes(config: RecordConfig) -> None:
    """Play the scripted episodes that are missing, and write the event log of all of them."""
    files = [row_file(config.out, "episodes", index) for index in range(config.episodes)]
    missing = [index for index, file in enumerate(files) if not file.exists()]
    spread(partial(record_episode, config), missing, config.workers, "episodes")
    if files:
        text = "".join(file.read_text() for file in files)
        # Every row file ends with a line break, and write_text adds one.
        write_text(config.out / "episodes" / "events.jsonl", text.rstrip())


def pairs_per_split(config: RecordConfig) -> dict[str, int]:
    """How many pairs each split gets, all multiples of 4, so that every class comes equally often."""
    # A block is one clip of every class.
    blocks = config.clips // len(CLASSES)
    val = round(blocks * config.val)
    test = round(blocks * config.test)
    return {"train": PAIRS * (blocks - val - test), "val": PAIRS * val, "test": PAIRS * test}


def clip_seed(seed: int, split: str, index: int) -> int:
    """The seed of pair `index` of a split, or of an episode; no two (seed, split, index) share one."""
    streams = (*SPLITS, "episodes")
    return (len(streams) * seed + streams.index(split)) * MAX_SEEDS + index


def record_pair(config: RecordConfig, job: tuple[str, int]) -> None:
    """Film one pair; write its two videos, then its row file, which says that the videos are complete."""
    split, index = job
    seed = clip_seed(config.seed, split, index)
    (config.out / split).mkdir(exist_ok=True)
    rows = []
    # Pairs take turns, so that any multiple of PAIRS has all classes equally often.
    for clip in film_pair(seed, index % PAIRS, config):
        name = CLASSES[clip.label]
        path = Path(split) / f"{index:06d}_{name}.mp4"
        write_mp4(config.out / path, clip.frames, config.fps)
        row = {
            "path": path.as_posix(),
            "label": clip.label,
            "label_name": name,
            "direction": clip.direction,
            "seed": seed,
            **clip.facts,
        }
        rows.append(row)
    write_text(row_file(config.out, split, index), json.dumps(rows))


def record_episode(config: RecordConfig, index: int) -> None:
    """Play one scripted episode; write its video and its numbers, then its row file."""
    seed = clip_seed(config.seed, "episodes", index)
    episode = play_script(seed, WorldConfig(size=config.size, fps=config.fps))
    path = config.out / "episodes" / f"{index:06d}.mp4"
    path.parent.mkdir(exist_ok=True)
    write_mp4(path, episode.frames, config.fps)
    numbers = {name: getattr(episode, name) for name in ("actions", "states", "extrinsics", "intrinsics")}
    np.savez(path.with_suffix(".npz"), **numbers)
    row = {"path": path.name, "seed": seed, "objects": episode.objects, "events": episode.events}
    write_text(row_file(config.out, "episodes", index), json.dumps(row))


def row_file(out: Path, split: str, index: int) -> Path:
    """The file that says that pair or episode `index` is complete, and holds its rows."""
    return out / "rows" / split / f"{index:06d}.json"


def write_manifest(out: Path, split: str, row_files: list[Path]) -> None:
    """Write `<split>.csv`: one line per clip, paths relative to `out`. Without clips there is no file."""
    rows = [row for file in row_files for row in json.loads(file.read_text())]
    if not rows:
        return  # a manifest without clips would have no columns either
    with open(out / f"{split}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

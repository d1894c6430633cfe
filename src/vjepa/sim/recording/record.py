"""The demo world on disk: MP4s and manifests, resumable, in parallel, the same bytes for the same seed.

`DIR/{train,val,test}.csv` list `DIR/{train,val,test}/*.mp4`. Every pair also leaves `DIR/rows/<split>/<index>.json`, written
after its two videos, so an interrupted run knows what it has. `DIR/config.json` is written first and `DIR/done.json` last.

Scripted episodes go to `DIR/episodes/*.mp4`, with actions, states and camera in a `.npz` of the same name, and one line each
in `DIR/episodes/events.jsonl`: path, seed, objects and the event log.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vjepa.data.video_files import write_video
from vjepa.errors import UserError
from vjepa.sim.recording.motion_clips import CLASSES, MotionClipConfig, film_pair
from vjepa.sim.recording.scripted_episodes import play
from vjepa.sim.world.env import WorldConfig

SPLITS = ("train", "val", "test")
PAIRS = len(CLASSES) // 2
MOST = 1_000_000
"""Seeds of a split: more renders than this would run into the next split's."""
VERSION = 2
"""Raise it when the same configuration would give other pictures, so that old folders are not mistaken for new ones."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    """Different seeds give different worlds, without overlap."""
    workers: int = max(1, os.cpu_count() or 1)
    """Processes to spread the work over; 1 works in this process."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clips % len(CLASSES) or not 0 <= self.clips <= 2 * MOST:
            raise UserError(
                f"clips={self.clips} should be a multiple of {len(CLASSES)}, so that classes are balanced"
            )
        if self.val < 0 or self.test < 0 or self.val + self.test > 1:
            raise UserError(
                f"val={self.val} and test={self.test} are shares of the clips: expected 0 <= val + test <= 1"
            )
        if self.size % 16 or self.size <= 0:
            raise UserError(
                f"size={self.size} should be a multiple of 16 pixels, as encoders and codecs expect"
            )
        if self.seed < 0 or self.episodes < 0 or self.workers < 1:
            found = f"seed={self.seed}, episodes={self.episodes}, workers={self.workers}"
            raise UserError(f"{found}: expected seed and episodes of 0 or more and at least one worker")

    @property
    def identity(self) -> dict:
        """What decides the bytes: everything but the folder and the number of workers."""
        return {key: value for key, value in asdict(self).items() if key not in ("out", "workers")} | {
            "version": VERSION
        }


def pairs_per_split(config: RecordConfig) -> dict[str, int]:
    """How many pairs each split gets, all multiples of 4, so that every class comes equally often."""
    blocks = config.clips // len(CLASSES)
    val, test = round(blocks * config.val), round(blocks * config.test)
    return {"train": PAIRS * (blocks - val - test), "val": PAIRS * val, "test": PAIRS * test}


def clip_seed(seed: int, split: str, index: int) -> int:
    """The seed of pair `index` of a split, or of an episode; no two (seed, split, index) share one."""
    streams = (*SPLITS, "episodes")
    return (len(streams) * seed + streams.index(split)) * MOST + index


def record(config: RecordConfig) -> Path:
    """Make what is missing in `config.out` and return it; a finished folder is left alone."""
    if claim(config.out, config.identity):
        print(f"{config.out} is complete: nothing to do")
        return config.out
    jobs = [(split, index) for split, count in pairs_per_split(config).items() for index in range(count)]
    missing = [job for job in jobs if not row_file(config.out, *job).exists()]
    spread(partial(record_pair, config), missing, config.workers, "pairs of clips")
    lines = [row_file(config.out, "episodes", index) for index in range(config.episodes)]
    missing = [index for index, line in enumerate(lines) if not line.exists()]
    spread(partial(record_episode, config), missing, config.workers, "episodes")
    for split in SPLITS:
        write_manifest(config.out, split, [row_file(config.out, *job) for job in jobs if job[0] == split])
    if lines:
        write_text(
            config.out / "episodes" / "events.jsonl", "".join(line.read_text() for line in lines).rstrip()
        )
    write_text(config.out / "done.json", json.dumps(config.identity, indent=2))
    return config.out


def claim(out: Path, identity: dict) -> bool:
    """Note in the folder what it is for, or check that it is for this; True if all its work is done."""
    identity = json.loads(json.dumps(identity))  # as it reads back: tuples become lists
    note = out / "config.json"
    if note.exists() and (found := json.loads(note.read_text())) != identity:
        changed = [key for key in identity if found.get(key) != identity[key]]
        wanted = ", ".join(f"{key}={found.get(key)} (now {identity[key]})" for key in changed)
        raise UserError(f"{out} holds a demo world with {wanted}: choose another folder or delete this one")
    out.mkdir(parents=True, exist_ok=True)
    write_text(note, json.dumps(identity, indent=2))
    return (out / "done.json").exists()


def record_pair(config: RecordConfig, job: tuple[str, int]) -> None:
    """Film one pair; write two videos, then the row file that says so."""
    split, index = job
    seed = clip_seed(config.seed, split, index)
    rows = []
    for clip in film_pair(seed, index % PAIRS, config):
        name = CLASSES[clip.label]
        path = Path(split) / f"{index:06d}_{name}.mp4"
        (config.out / split).mkdir(exist_ok=True)
        write_video(config.out / path, clip.frames, config.fps)
        what = {"label": clip.label, "label_name": name, "direction": clip.direction}
        rows.append({"path": path.as_posix(), **what, "seed": seed, **clip.facts})
    row_file(config.out, split, index).parent.mkdir(parents=True, exist_ok=True)
    write_text(row_file(config.out, split, index), json.dumps(rows))


def record_episode(config: RecordConfig, index: int) -> None:
    """Play one scripted episode; write its video and its numbers, then the row file that says so."""
    seed = clip_seed(config.seed, "episodes", index)
    episode = play(seed, WorldConfig(size=config.size, fps=config.fps))
    path = Path("episodes") / f"{index:06d}.mp4"
    (config.out / "episodes").mkdir(exist_ok=True)
    write_video(config.out / path, episode.frames, config.fps)
    numbers = {name: getattr(episode, name) for name in ("actions", "states", "extrinsics", "intrinsics")}
    np.savez(config.out / path.with_suffix(".npz"), **numbers)
    row = {"path": path.name, "seed": seed, "objects": episode.objects, "events": episode.events}
    row_file(config.out, "episodes", index).parent.mkdir(parents=True, exist_ok=True)
    write_text(row_file(config.out, "episodes", index), json.dumps(row))


def row_file(out: Path, split: str, index: int) -> Path:
    return out / "rows" / split / f"{index:06d}.json"


def write_manifest(out: Path, split: str, row_files: list[Path]) -> None:
    """`<split>.csv` with one line per clip; paths are relative to the folder that holds it."""
    rows = [row for file in row_files for row in json.loads(file.read_text())]
    if not rows:
        return
    with open(out / f"{split}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n")
    temporary.replace(path)


def spread(work: Callable, jobs: list, workers: int, what: str) -> None:
    """Call `work(job)` for every job, over processes if there are several, under a progress bar."""
    with results(work, jobs, workers) as done:
        for _ in tqdm(done, total=len(jobs), desc=what, disable=not jobs):
            pass


@contextmanager
def results(work: Callable, jobs: list, workers: int) -> Iterator[Iterable]:
    if workers == 1 or len(jobs) < 2:
        yield map(work, jobs)
        return
    for name in THREADS:  # the processes share the cores: one thread each, and they read this when they start
        os.environ.setdefault(name, "1")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool.map(work, jobs, chunksize=4)

"""Robot episodes of the demo world as LeRobotDataset v3.0 folders `DIR/{train,val,test}`: random motion and scripts.

    python -m vjepa record-robot --out data/robot --episodes 400 --size 64

One row, and one picture, per action: four a second. Several episodes share an MP4 file. A file's numbers go to
`DIR/rows/<split>/<file>.npz` after its video, so an interrupted run knows what it has; the tables of each split are
written from those at the end. `DIR/config.json` is written first and `DIR/done.json` last. The same seed gives the same
bytes, whatever the number of workers.
"""

import itertools
import json
import os
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.data.video_files import write_video
from vjepa.errors import UserError
from vjepa.sim.recording.lerobot_writer import VIDEO_PATH, Take, place, write_dataset
from vjepa.sim.recording.record import MOST, SPLITS, claim, spread, write_text
from vjepa.sim.recording.scripted_episodes import PLANS
from vjepa.sim.recording.wander import wander
from vjepa.sim.world import skills
from vjepa.sim.world.arm import Command
from vjepa.sim.world.env import HERTZ, DemoWorld, WorldConfig
from vjepa.sim.world.looks import Viewpoints
from vjepa.sim.world.poses import matrix_to_euler
from vjepa.sim.world.scene import SceneConfig
from vjepa.sim.world.skills import Actions

VERSION = 3
"""Raise it when the same configuration would give other episodes, so that old folders are not mistaken for new ones."""
FIRST_SEED = 2**40
"""Seeds of these worlds begin here: those of the labelled clips, and round numbers that people type, are below."""
SCRIPTS = (*PLANS, (skills.reach,), (skills.lift,), (skills.put_in_tray,))
"""What can happen in a scripted episode, again and again with different objects. The tray is planned for most: twice."""
TRIPOD = Viewpoints(
    azimuth=10.0,
    height=(30.0, 38.0),
    distance=(1.0, 1.05),
    target=(0.42, 0.0, 0.22),
    jitter=0.01,
    fovy=(44.0, 46.0),
)
"""One camera on its tripod, moved a little between episodes; the whole reach of the hand is in the picture."""
ABSENT = (0.0, 0.0, -1.0)
"""Where an object is that is not there, in metres: below the floor."""


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """Robot episodes at four actions a second, split into train, val and test."""

    out: Path
    """Folder for the three datasets; made if it does not exist."""
    episodes: int = 400
    """Episodes in all."""
    scripted: float = 0.3
    """Share of the episodes in which skills run; in the others the hand moves at random."""
    steps: int = 40
    """Actions in an episode; it has one picture and one state more."""
    size: int = 64
    """Height and width of the pictures in pixels."""
    val: float = 0.1
    """Share of the episodes for validation."""
    test: float = 0.1
    """Share of the episodes for testing."""
    scene: SceneConfig = field(
        default_factory=lambda: SceneConfig(objects=(1, 3), occluder=0.0, camera=TRIPOD)
    )
    """What stands on the table, and where the camera may be."""
    per_file: int = 10
    """Episodes in one MP4 file."""
    seed: int = 0
    """Different seeds give different worlds, without overlap."""
    workers: int = max(1, os.cpu_count() or 1)
    """Processes to spread the work over; 1 works in this process."""

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("episodes", "steps", "per_file", "workers")}
        if min(counts.values()) < 1 or self.seed < 0:
            raise UserError(f"{counts}, seed={self.seed}: expected 1 or more, and a seed of 0 or more")
        if not 0 <= self.scripted <= 1:
            raise UserError(f"scripted={self.scripted} is a share of the episodes: expected 0 to 1")
        if self.val < 0 or self.test < 0 or self.val + self.test > 1:
            raise UserError(
                f"val={self.val} and test={self.test} are shares of the episodes: expected 0 <= val + test <= 1"
            )
        if self.size % 16 or self.size <= 0:
            raise UserError(
                f"size={self.size} should be a multiple of 16 pixels, as encoders and codecs expect"
            )
        if self.episodes > MOST:
            raise UserError(
                f"episodes={self.episodes} are more than the {MOST} seeds of a split: take another seed instead"
            )

    @property
    def identity(self) -> dict:
        """What decides the bytes: everything but the folder and the number of workers."""
        return {key: value for key, value in asdict(self).items() if key not in ("out", "workers")} | {
            "version": VERSION
        }


def record_robot(config: RobotConfig) -> Path:
    """Make what is missing in `config.out` and return it; a finished folder is left alone."""
    if claim(config.out, config.identity):
        print(f"{config.out} is complete: nothing to do")
        return config.out
    files = {split: -(-count // config.per_file) for split, count in episodes_per_split(config).items()}
    jobs = [(split, number) for split, count in files.items() for number in range(count)]
    missing = [job for job in jobs if not rows_file(config.out, *job).exists()]
    spread(partial(record_file, config), missing, config.workers, f"files of {config.per_file} episodes")
    for split, count in files.items():
        takes = [read_take(rows_file(config.out, split, number)) for number in range(count)]
        if takes:
            write_dataset(config.out / split, takes, config.size, HERTZ)
    write_text(config.out / "done.json", json.dumps(config.identity, indent=2))
    return config.out


def episodes_per_split(config: RobotConfig) -> dict[str, int]:
    val, test = round(config.episodes * config.val), round(config.episodes * config.test)
    return {"train": config.episodes - val - test, "val": val, "test": test}


def episode_seed(seed: int, split: str, index: int) -> int:
    """The seed of an episode; no two (seed, split, index) share one."""
    return FIRST_SEED + (len(SPLITS) * seed + SPLITS.index(split)) * MOST + index


def is_scripted(index: int, share: float) -> bool:
    """Whether episode `index` is one of the scripted ones, which are spread evenly."""
    return int((index + 1) * share + 1e-9) > int(index * share + 1e-9)


def record_file(config: RobotConfig, job: tuple[str, int]) -> None:
    """Play the episodes of one file; write their video, then their numbers, which say that the video is there."""
    split, number = job
    last = min((number + 1) * config.per_file, episodes_per_split(config)[split])
    played = [play(config, split, index) for index in range(number * config.per_file, last)]
    video = place(config.out / split, VIDEO_PATH, number)
    video.parent.mkdir(parents=True, exist_ok=True)
    write_video(video, np.concatenate([frames for frames, _ in played]), HERTZ)
    take = Take(*(np.concatenate(parts) for parts in zip(*(take for _, take in played), strict=True)))
    file = rows_file(config.out, split, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    np.savez(temporary, **take._asdict())
    temporary.replace(file)


def play(config: RobotConfig, split: str, index: int) -> tuple[ndarray, Take]:
    """One episode: frames (t, h, w, 3) uint8, and its numbers."""
    seed, scripted = episode_seed(config.seed, split, index), is_scripted(index, config.scripted)
    world = DemoWorld(WorldConfig(size=config.size, steps=config.steps, scene=config.scene))
    observation, info = world.reset(seed=seed)
    random = np.random.default_rng([seed, 1])
    task, actions = script(world, random) if scripted else ("move at random", wander(world, random))
    observations, done = [(observation, centres(world, config.scene))], []
    for action in itertools.islice(actions, config.steps):
        before = world.command
        observations.append((world.step(action)[0], centres(world, config.scene)))
        done.append(change(before, world.command))
    rows = len(observations)
    take = Take(
        states=np.array([seen["state"] for seen, _ in observations]),
        actions=np.array([*done, np.zeros(7)]),
        objects=np.array([objects for _, objects in observations]),
        extrinsics=np.tile(info["extrinsics"], (rows, 1)),
        lengths=np.array([rows]),
        seeds=np.array([seed]),
        kinds=np.array(["scripted" if scripted else "random"]),
        tasks=np.array([task]),
    )
    return np.stack([seen["image"] for seen, _ in observations]), take


def change(before: Command, after: Command) -> ndarray:
    """The action (7,) that was carried out: what the workspace and the gripper's ends cut off is not in it."""
    turn = matrix_to_euler(after.rotation @ before.rotation.T)
    return np.array([*(after.position - before.position), *turn, after.closedness - before.closedness])


def script(world: DemoWorld, random: Generator) -> tuple[str, Actions]:
    """What happens to which objects, one after the other, in words; and its actions."""
    absent = {skills.put_in_tray: world.scene.tray is None, skills.hide: world.scene.occluder is None}
    possible = [plan for plan in SCRIPTS if not any(absent.get(skill, False) for skill in plan)]
    things = [world.scene.things[i] for i in random.permutation(len(world.scene.things))]
    plans = [(skill, thing) for thing in things for skill in possible[random.integers(len(possible))]]
    words = [f"{skill.__name__.replace('_', ' ')}: {thing.colour} {thing.shape}" for skill, thing in plans]
    return ", ".join(words), itertools.chain.from_iterable(skill(world, thing) for skill, thing in plans)


def centres(world: DemoWorld, scene: SceneConfig) -> ndarray:
    """Where the objects are (3 k,) in metres, for as many as a scene may have."""
    found = [world.position(thing) for thing in world.scene.things]
    return np.concatenate([*found, *[ABSENT] * (scene.objects[1] - len(found)), ()])


def rows_file(out: Path, split: str, number: int) -> Path:
    return out / "rows" / split / f"{number:06d}.npz"


def read_take(file: Path) -> Take:
    with np.load(file) as arrays:
        return Take(**arrays)

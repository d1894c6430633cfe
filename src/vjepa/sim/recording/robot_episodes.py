"""Robot episodes of the demo world: random motion, practice, scripts; LeRobot folders `DIR/{train,val,test}`.

    vjepa data record-robot --out data/robot --episodes 800

An episode has one row, and one image, per action: four a second. Several episodes share an MP4 file. A file's
rows go to `DIR/rows/<split>/<file>.npz` after its video, so that an interrupted run knows what it has. At the
end, the tables of each split are written from these files. The same seed gives the same bytes, whatever the
number of workers.
"""

import itertools
import os
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator

from vjepa.drawing.film import write_mp4
from vjepa.errors import check_seed, check_workers, require
from vjepa.robots.euler import matrix_to_euler
from vjepa.sim.recording.dataset_folder import (
    MAX_SEEDS,
    SPLITS,
    check_recording,
    claimed,
    identity_of,
    spread,
)
from vjepa.sim.recording.lerobot_writer import VIDEO_PATH, EpisodeRows, numbered, write_dataset
from vjepa.sim.recording.practice import practice
from vjepa.sim.recording.scripted_episodes import PLANS, possible_plans
from vjepa.sim.recording.wander import wander
from vjepa.sim.world import skills
from vjepa.sim.world.arm import Command
from vjepa.sim.world.env import ACTION_DIM, HERTZ, DemoWorld, WorldConfig
from vjepa.sim.world.looks import AROUND
from vjepa.sim.world.scene import SceneConfig
from vjepa.sim.world.skills import Actions

VERSION = 4
"""Raise it when the same settings would give other episodes: `claimed` then refuses old folders."""
FIRST_SEED = 2**40
"""First seed of these worlds. Seeds of the labelled clips, and numbers that people type, are below it."""
SCRIPTS = (*PLANS, (skills.reach,), (skills.lift,), (skills.put_in_tray,))
"""What can happen to an object in a scripted episode. Planning needs the tray most, so it is here twice."""
Kind = Literal["scripted", "practised", "random"]
GOLDEN = (5**0.5 - 1) / 2
"""The golden ratio's inverse: its multiples spread numbers evenly."""
ABSENT = (0.0, 0.0, -1.0)
"""Position in metres of an object that does not exist: below the floor."""


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """Robot episodes at four actions a second, split into train, val and test."""

    out: Path
    """Folder for the three datasets; made if it does not exist."""
    episodes: int = 400
    """Episodes in all."""
    scripted: float = 0.3
    """Share of the episodes in which skills run."""
    practised: float = 0.4
    """Share of the episodes in which the hand practises grasping; in the rest it moves at random."""
    steps: int = 40
    """Actions in an episode; it has one image and one state more."""
    size: int = 192
    """Height and width of the images in pixels."""
    val: float = 0.1
    """Share of the episodes for validation."""
    test: float = 0.1
    """Share of the episodes for testing."""
    scene: SceneConfig = field(
        default_factory=lambda: SceneConfig(objects=(1, 3), occluder=0.0, camera=AROUND)
    )
    """What stands on the table, and where the camera may be."""
    per_file: int = 10
    """Episodes in one MP4 file."""
    seed: int = 0
    """Different seeds give different worlds: no world belongs to two seeds."""
    workers: int = max(1, os.cpu_count() or 1)
    """Processes to spread the work over; 1 works in this process."""

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("episodes", "steps", "per_file", "workers")}
        named = ", ".join(f"{name}={count}" for name, count in counts.items())
        require(min(counts.values()) >= 1, f"{named}: expected 1 or more")
        check_workers(self.workers, 1)
        check_seed(self.seed)
        shares = (self.scripted, self.practised)
        require(
            min(shares) >= 0 and sum(shares) <= 1,
            f"scripted={self.scripted} and practised={self.practised} are shares of the episodes: "
            "expected 0 to 1 in all",
        )
        check_recording(self.size, self.val, self.test, "episodes")
        require(
            self.episodes <= MAX_SEEDS,
            f"episodes={self.episodes} are more than the {MAX_SEEDS} seeds of a split: take another seed",
        )

    @property
    def identity(self) -> dict:
        """What decides the bytes of the folder."""
        return identity_of(asdict(self), VERSION)


def record_robot(config: RobotConfig) -> Path:
    """Record what is missing in the folder `out`, and return it. A finished folder stays as it is."""
    with claimed(config.out, config.identity) as finished:
        if not finished:
            record_splits(config)
    return config.out


def record_splits(config: RobotConfig) -> None:
    """Record the files that are missing, and write the data set of every split."""
    # Rounded up: the last file of a split may have fewer episodes.
    files = {split: -(-count // config.per_file) for split, count in episodes_per_split(config).items()}
    jobs = [(split, number) for split, count in files.items() for number in range(count)]
    missing = [job for job in jobs if not rows_file(config.out, *job).exists()]
    spread(partial(record_file, config), missing, config.workers, f"files of {config.per_file} episodes")

    for split, count in files.items():
        rows = [read_rows(rows_file(config.out, split, number)) for number in range(count)]
        if rows:  # a split without episodes gets no folder
            write_dataset(config.out / split, rows, config.size, HERTZ)


def episodes_per_split(config: RobotConfig) -> dict[str, int]:
    """How many episodes each split gets."""
    val = round(config.episodes * config.val)
    test = round(config.episodes * config.test)
    return {"train": config.episodes - val - test, "val": val, "test": test}


def episode_seed(seed: int, split: str, index: int) -> int:
    """The seed of an episode; no two (seed, split, index) share one."""
    return FIRST_SEED + (len(SPLITS) * seed + SPLITS.index(split)) * MAX_SEEDS + index


def kind_of(index: int, config: RobotConfig) -> Kind:
    """What happens in episode `index`: every kind is spread evenly over the episodes."""
    # Multiples of the golden ratio, without their whole parts, fill the interval from 0 to 1 evenly.
    place = index * GOLDEN % 1
    if place < config.scripted:
        return "scripted"
    return "practised" if place < config.scripted + config.practised else "random"


def record_file(config: RobotConfig, job: tuple[str, int]) -> None:
    """Play the episodes of one file; write their video, then their rows, which mark it as complete."""
    split, number = job
    first = number * config.per_file
    last = min(first + config.per_file, episodes_per_split(config)[split])
    frames, rows = zip(*(play_episode(config, split, index) for index in range(first, last)), strict=True)

    video = numbered(config.out / split, VIDEO_PATH, number)
    video.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(video, np.concatenate(frames), HERTZ)

    merged = EpisodeRows(*(np.concatenate(columns) for columns in zip(*rows, strict=True)))
    file = rows_file(config.out, split, number)
    file.parent.mkdir(parents=True, exist_ok=True)
    # np.savez appends .npz to any other ending, so the temporary name has to end like the final one.
    temporary = file.with_name(f".{os.getpid()}.{file.name}")
    np.savez(temporary, **merged._asdict())
    temporary.replace(file)


def play_episode(
    config: RobotConfig, split: str, index: int
) -> tuple[UInt8[ndarray, "t h w 3"], EpisodeRows]:
    """Frames and rows of one episode."""
    seed = episode_seed(config.seed, split, index)
    world = DemoWorld(WorldConfig(size=config.size, steps=config.steps, scene=config.scene))
    observation, info = world.reset(seed=seed)
    # Another stream than the one that drew the scene from the same seed.
    random = np.random.default_rng([seed, 1])
    kind = kind_of(index, config)
    task, actions = draw_actions(kind, world, random)

    observations = [observation]
    objects = [object_positions(world, config.scene)]
    changes = []
    # Practice and wandering never end. Scripts may end before `steps`, which makes the episode shorter.
    for action in itertools.islice(actions, config.steps):
        before = world.command
        observations.append(world.step(action)[0])
        objects.append(object_positions(world, config.scene))
        changes.append(change(before, world.command))

    rows = EpisodeRows(
        states=np.array([observation["state"] for observation in observations]),
        actions=np.array([*changes, np.zeros(ACTION_DIM)]),
        objects=np.array(objects),
        extrinsics=np.tile(info["extrinsics"], (len(observations), 1)),
        lengths=np.array([len(observations)]),
        seeds=np.array([seed]),
        kinds=np.array([kind]),
        tasks=np.array([task]),
    )
    return np.stack([observation["image"] for observation in observations]), rows


def change(before: Command, after: Command) -> ndarray:
    """The action (7,) that was carried out, without the part that the limits of hand and gripper cut off."""
    turn = matrix_to_euler(after.rotation @ before.rotation.T)
    return np.array([*(after.position - before.position), *turn, after.closedness - before.closedness])


def draw_actions(kind: Kind, world: DemoWorld, random: Generator) -> tuple[str, Actions]:
    """What happens in an episode of a kind: in words, and as actions."""
    if kind == "scripted":
        return draw_scripts(world, random)
    if kind == "practised":
        return "practise grasping", practice(world, random)
    return "move at random", wander(world, random)


def draw_scripts(world: DemoWorld, random: Generator) -> tuple[str, Actions]:
    """What happens to which objects, one after the other: in words, and as actions."""
    possible = possible_plans(SCRIPTS, world)
    things = [world.scene.things[i] for i in random.permutation(len(world.scene.things))]
    steps = [(skill, thing) for thing in things for skill in possible[random.integers(len(possible))]]
    words = [f"{skill.__name__.replace('_', ' ')}: {thing.colour} {thing.shape}" for skill, thing in steps]
    return ", ".join(words), itertools.chain.from_iterable(skill(world, thing) for skill, thing in steps)


def object_positions(world: DemoWorld, scene: SceneConfig) -> ndarray:
    """Centres of the objects (3 k,) in metres, for as many objects as a scene may have."""
    positions = [world.position(thing) for thing in world.scene.things]
    absent = [ABSENT] * (scene.objects[1] - len(positions))
    return np.concatenate([*positions, *absent, ()])  # the empty one serves scenes without objects


def rows_file(out: Path, split: str, number: int) -> Path:
    """The file that says that video file `number` is complete, and holds its rows."""
    return out / "rows" / split / f"{number:06d}.npz"


def read_rows(file: Path) -> EpisodeRows:
    """The rows that `record_file` wrote."""
    with np.load(file) as arrays:
        return EpisodeRows(**arrays)

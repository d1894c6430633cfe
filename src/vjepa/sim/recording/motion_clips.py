"""Labelled motions in time-reversed pairs: eight classes of which no single frame can tell.

The hand passes through a middle pose, from half the motion before it to half the motion after it, with a speed that is
symmetric in time. The middle pose, what the hand holds and all else in the picture are drawn from one distribution for
all classes. A motion is simulated and rendered once and read twice: forwards under its own label, backwards under its
partner's. Which of the two is simulated is a coin toss. So the middle frames of a pair are the same picture, and those of
different pairs come from the same distribution; only the other frames, in their order, say what happens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.errors import UserError
from vjepa.sim.world.arm import TIMESTEP, Command, Simulation
from vjepa.sim.world.looks import COLOURS, Viewpoints
from vjepa.sim.world.panda import OPENING
from vjepa.sim.world.poses import smoothstep
from vjepa.sim.world.render import Renderer
from vjepa.sim.world.scene import (
    Layout,
    Scene,
    SceneConfig,
    Thing,
    draw_scene,
    draw_thing,
    hand_rotation,
    moved_to,
)

CLASSES = (
    "move_left",
    "move_right",
    "move_away",
    "move_toward",
    "lift",
    "lower",
    "turn_clockwise",
    "turn_counterclockwise",
)
"""Partners stand side by side: label ^ 1 is the same motion backwards. Left, right, away and toward are the picture's;
turns are seen from above."""
DIRECTIONS = {
    "move_left": (0, -1, 0),
    "move_right": (0, 1, 0),
    "move_away": (-1, 0, 0),
    "move_toward": (1, 0, 0),
}
DIRECTIONS |= {"lift": (0, 0, 1), "lower": (0, 0, -1)}
TURNS = {"turn_clockwise": -1, "turn_counterclockwise": 1}
STATE = ("x", "y", "z", "roll", "pitch", "yaw", "closedness")
"""Columns of the manifest that hold the arm's state."""
ATTEMPTS = 10
"""Shots of one seed that are tried until the hand keeps its object."""
SETTLE = 0.3
"""Seconds for the fingers to take hold of the object before the first frame."""


@dataclass(frozen=True)
class MotionClipConfig:
    """How a clip is filmed, and how much moves in it."""

    size: int = 64
    """Height and width of the pictures in pixels."""
    seconds: float = 2.2
    """Length of a clip; the number of frames is rounded to an odd one, so that there is a middle frame."""
    fps: int = 10
    """Frames per second. Few, because what lies between the frames that a clip needs is decoded too."""
    shift: tuple[float, float] = (0.2, 0.3)
    """Shortest and longest way of the hand in metres."""
    turn: tuple[float, float] = (1.2, 2.2)
    """Smallest and largest turn of the hand in radians."""
    wobble: float = 0.006
    """Amplitude in metres of a small movement of the hand that has nothing to do with the class."""
    held: float = 0.5
    """Probability that the hand holds an object."""
    azimuth: float = 35.0
    """The camera stands within so many degrees of straight ahead of the robot."""

    def __post_init__(self) -> None:
        if self.frames < 3:
            raise UserError(
                f"seconds={self.seconds} at fps={self.fps} make {self.frames} frame: expected at least 3"
            )
        if not 0 <= self.shift[0] <= self.shift[1] <= 0.3:
            raise UserError(
                f"shift={self.shift} should be two lengths up to 0.3 m: the hand would meet the table beyond"
            )
        if not 0 <= self.turn[0] <= self.turn[1] <= 2.4:
            raise UserError(
                f"turn={self.turn} should be two angles up to 2.4 rad: the wrist turns no further"
            )

    @property
    def frames(self) -> int:
        """Frames per clip, an odd number."""
        return 2 * round(self.seconds * self.fps / 2) + 1


@dataclass(frozen=True)
class Passage:
    """A motion through a middle pose: half of `shift` (3,) metres and `turn` radians before it and half after it."""

    position: ndarray
    yaw: float
    closedness: float
    shift: ndarray
    turn: float
    seconds: float
    rest: float
    """Seconds of standing still, half at the beginning and half at the end."""
    wobble: ndarray
    """Amplitudes (4,) of the irrelevant movement, x y z in metres and yaw in radians."""
    wave: ndarray
    """Its angular frequencies and phases (2, 4)."""

    def __call__(self, time: float) -> Command:
        progress = smoothstep((time - self.rest / 2) / (self.seconds - self.rest)) - 0.5
        sway = self.wobble * np.sin(self.wave[0] * time + self.wave[1])
        position = self.position + progress * self.shift + sway[:3]
        return Command(position, hand_rotation(self.yaw + progress * self.turn + sway[3]), self.closedness)


class Clip(NamedTuple):
    """Frames (t, h, w, 3) uint8 of the class `label`, and facts for the manifest."""

    frames: ndarray
    label: int
    facts: dict[str, str | float]

    @property
    def backwards(self) -> "Clip":
        """The same film backwards, under the partner's label."""
        return Clip(self.frames[::-1], self.label ^ 1, {**self.facts, "reversed": 1 - self.facts["reversed"]})

    @property
    def direction(self) -> str:
        """Where the hand goes, for the six classes in which it goes somewhere."""
        return CLASSES[self.label] if CLASSES[self.label] in DIRECTIONS else ""


def film_pair(seed: int, pair: int, config: MotionClipConfig) -> tuple[Clip, Clip]:
    """Simulate and render one motion of pair 0..3: (forwards, backwards). The same arguments give the same bytes."""
    for attempt in range(ATTEMPTS):
        clip = film(np.random.default_rng([seed, attempt]), pair, config)
        if clip is not None:
            return clip, clip.backwards
    raise RuntimeError(
        f"clip seed {seed}: the hand lost its object {ATTEMPTS} times in a row; please report this seed"
    )


class Shot(NamedTuple):
    """What is filmed: a motion of a class, the held thing at its start if there is one, and all around it."""

    label: int
    passage: Passage
    thing: Thing | None
    scene: Scene


def draw_shot(random: Generator, pair: int, config: MotionClipConfig) -> Shot:
    """One motion of the pair in either direction. Nothing is simulated yet."""
    label = 2 * pair + int(random.integers(2))
    thing = (
        draw_thing(random, "held", str(random.choice(list(COLOURS))))
        if random.random() < config.held
        else None
    )
    passage = draw_passage(random, CLASSES[label], thing is not None, config)
    hang = (
        0.0 if thing is None else max(0.0, thing.size[2] - 0.035)
    )  # tall objects hang lower, clear of the palm
    start = passage(0.0)
    if thing is not None:
        thing = moved_to(thing, start.position - (0, 0, hang), passage.yaw - passage.turn / 2)
    keep_free = Layout()
    keep_free.take((passage.position[0], passage.position[1]), 0.11)
    camera = Viewpoints(azimuth=config.azimuth, fovy=(37.0, 43.0))
    scene_config = SceneConfig(tray=0.5, occluder=0.0, camera=camera, movable=False)
    return Shot(label, passage, thing, draw_scene(random, scene_config, thing, keep_free))


def shot_of(clip: Mapping[str, str], config: MotionClipConfig) -> Shot:
    """What a row of the manifest was filmed from, drawn again. Raises ValueError if no drawing of its seed is like the row."""
    for attempt in range(ATTEMPTS):
        shot = draw_shot(np.random.default_rng([int(clip["seed"]), attempt]), int(clip["label"]) // 2, config)
        about = facts(shot.passage, shot.thing)
        if all(str(about[name]) == clip[name] for name in ("held", "metres", "radians", "moving_seconds")):
            return shot
    raise UserError(f"{clip['path']} was not filmed by this version of the demo world; make the clips anew")


def film(random: Generator, pair: int, config: MotionClipConfig) -> Clip | None:
    """One motion of the pair in either direction, or None if the hand lost the object that it held."""
    label, passage, thing, scene = draw_shot(random, pair, config)
    start = passage(0.0)
    simulation = Simulation(scene.xml)
    grip(simulation, start, thing)
    renderer = Renderer(simulation.model, simulation.data, scene, config.size)
    before = offset(simulation, thing)
    frames, states = [renderer(simulation.data).rgb], [simulation.state]

    def on_frame() -> None:
        frames.append(renderer(simulation.data).rgb)
        states.append(simulation.state)

    simulation.steps = 0
    simulation.follow(passage, round((config.frames - 1) / config.fps / TIMESTEP), config.fps, on_frame)
    if np.linalg.norm(offset(simulation, thing) - before) > 0.02:
        return None
    return Clip(np.stack(frames), label, facts(passage, thing) | middle_state(states))


def draw_passage(random: Generator, name: str, holding: bool, config: MotionClipConfig) -> Passage:
    """A motion of the class. Nothing about its middle depends on the class."""
    seconds = (config.frames - 1) / config.fps
    direction = np.array(DIRECTIONS.get(name, (0, 0, 0)), float)
    return Passage(
        position=random.uniform((0.45, -0.07, 0.21), (0.55, 0.07, 0.27)),
        yaw=random.uniform(-0.5, 0.5),
        closedness=1.0 if holding else random.uniform(0, 1),
        shift=direction
        * random.uniform(*config.shift)
        * (0.85 if direction[2] else 1.0),  # stay clear of the table
        turn=TURNS.get(name, 0) * random.uniform(*config.turn),
        seconds=seconds,
        rest=random.uniform(0.05, 0.4) * seconds,
        wobble=config.wobble * random.uniform(0, 1, 4) * (1, 1, 1, 6),
        wave=np.stack([random.uniform(3, 8, 4), random.uniform(0, 2 * np.pi, 4)]),
    )


def grip(simulation: Simulation, start: Command, thing: Thing | None) -> None:
    """Put the hand at the start of its way, around the object if there is one, and let the fingers settle."""
    closedness = start.closedness if thing is None else 1 - 2 * thing.size[1] / OPENING
    simulation.place(start._replace(closedness=closedness))
    simulation.follow(lambda time: start, round(SETTLE / TIMESTEP))


def offset(simulation: Simulation, thing: Thing | None) -> ndarray:
    """The held object's centre as the hand sees it (3,), in metres; zero if there is none."""
    if thing is None:
        return np.zeros(3)
    data, site = simulation.data, simulation.site
    return data.site_xmat[site].reshape(3, 3).T @ (data.body(thing.name).xpos - data.site_xpos[site])


def facts(passage: Passage, thing: Thing | None) -> dict[str, str | float]:
    """What the manifest says about a clip besides its label."""
    moving = passage.seconds - passage.rest
    return {
        "held": "nothing" if thing is None else f"{thing.colour} {thing.shape}",
        "colour": "" if thing is None else thing.colour,
        "metres": round(float(np.linalg.norm(passage.shift)), 4),
        "radians": round(abs(float(passage.turn)), 4),
        "moving_seconds": round(float(moving), 4),
        "reversed": 0,
    }


def middle_state(states: list[ndarray]) -> dict[str, float]:
    """What the robot measures in the middle frame, which a clip and its reversal share: metres, radians, closedness. The hand
    points down, a roll of pi, so rolls are given from 0 to 2 pi, where nothing jumps."""
    state = states[len(states) // 2].copy()
    state[3] %= 2 * np.pi
    return dict(zip(STATE, state.round(4).tolist(), strict=True))

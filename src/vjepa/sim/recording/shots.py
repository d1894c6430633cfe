"""Labelled motions, drawn at random before anything is simulated: eight classes that no single frame can
show.

The hand passes through a middle pose, from half the motion before it to half the motion after it. The middle
pose, what the hand holds and all else in the image are drawn from one distribution for all classes, so only
the other frames, in their order, tell the class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.errors import UserError, require
from vjepa.sim.world.arm import Command
from vjepa.sim.world.looks import COLOURS, Viewpoints
from vjepa.sim.world.poses import smoothstep
from vjepa.sim.world.scene import Layout, Scene, SceneConfig, draw_scene, hand_rotation
from vjepa.sim.world.things import Thing, draw_thing, moved_to

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
"""Partners are neighbours in the list: label ^ 1 is the same motion backwards.

Left, right, away and toward are as the camera sees them; turns are as seen from above.
"""
# In the axes of the world. The camera faces the robot, so +x is towards it and +y is the image's right.
DIRECTIONS = {
    "move_left": (0, -1, 0),
    "move_right": (0, 1, 0),
    "move_away": (-1, 0, 0),
    "move_toward": (1, 0, 0),
    "lift": (0, 0, 1),
    "lower": (0, 0, -1),
}
# Seen from above, positive turns about z are counterclockwise.
TURNS = {"turn_clockwise": -1, "turn_counterclockwise": 1}
SHOT_ATTEMPTS = 10
"""How many shots of one seed are tried until the hand keeps its object."""


@dataclass(frozen=True)
class MotionClipConfig:
    """How a clip is filmed, and how much moves in it."""

    size: int = 64
    """Height and width of the images in pixels."""
    seconds: float = 2.2
    """Length of a clip; the number of frames is rounded to an odd one, so that there is a middle frame."""
    fps: int = 10
    """Frames per second. Few, because training also decodes the frames between those that it uses."""
    shift: tuple[float, float] = (0.2, 0.3)
    """Shortest and longest way of the hand in metres."""
    turn: tuple[float, float] = (1.2, 2.2)
    """Smallest and largest turn of the hand in radians."""
    wobble: float = 0.006
    """Amplitude in metres of a small movement of the hand that has nothing to do with the class."""
    held: float = 0.5
    """Probability that the hand holds an object."""
    azimuth: float = 35.0
    """Largest angle between the camera and straight ahead of the robot, to either side, in degrees."""

    def __post_init__(self) -> None:
        require(
            3 <= self.frames <= 10_000,
            f"seconds={self.seconds} at fps={self.fps} make {self.frames} frames: expected 3 to 10000",
        )
        require(
            0 <= self.shift[0] <= self.shift[1] <= 0.3,
            f"shift={self.shift} should be two lengths up to 0.3 m: the hand would meet the table beyond",
        )
        require(
            0 <= self.turn[0] <= self.turn[1] <= 2.4,
            f"turn={self.turn} should be two angles up to 2.4 rad: the wrist turns no further",
        )
        require(0 <= self.wobble <= 0.1, f"wobble={self.wobble} should be a length up to 0.1 m")
        require(0 <= self.held <= 1, f"held={self.held} is a probability: expected 0 to 1")
        require(0 <= self.azimuth <= 180, f"azimuth={self.azimuth} should be an angle from 0 to 180 degrees")

    @property
    def frames(self) -> int:
        """Frames per clip, an odd number."""
        return 2 * round(self.seconds * self.fps / 2) + 1


@dataclass(frozen=True)
class Passage:
    """A motion as a function of time in seconds: half before a middle pose, half after it."""

    position: ndarray
    """Fingertips in the middle pose (3,), metres."""
    yaw: float
    """Of the hand in the middle pose, radians."""
    closedness: float
    """Of the gripper, 0 open .. 1 closed, during the whole motion."""
    shift: ndarray
    """The whole way of the hand (3,), metres."""
    turn: float
    """The whole turn of the hand, radians."""
    seconds: float
    """Length of the whole clip."""
    rest: float
    """Seconds of standing still, half at the beginning and half at the end."""
    wobble: ndarray
    """Amplitudes (4,) of the irrelevant movement, x y z in metres and yaw in radians."""
    wave: ndarray
    """Its angular frequencies and phases (2, 4)."""

    def __call__(self, time: float) -> Command:
        # From -1/2 to 1/2, and point-symmetric about the middle. The motion played backwards has the same
        # speeds, so that speed does not distinguish a class from its partner.
        progress = smoothstep((time - self.rest / 2) / (self.seconds - self.rest)) - 0.5
        sway = self.wobble * np.sin(self.wave[0] * time + self.wave[1])
        position = self.position + progress * self.shift + sway[:3]
        yaw = self.yaw + progress * self.turn + sway[3]
        return Command(position, hand_rotation(yaw), self.closedness)


class Shot(NamedTuple):
    """What is filmed: a motion of a class, the held object at its start if there is one, and the scene."""

    label: int
    passage: Passage
    thing: Thing | None
    scene: Scene


def draw_shot(random: Generator, pair: int, config: MotionClipConfig) -> Shot:
    """One motion of pair 0..3 in either direction. Nothing is simulated yet."""
    # A coin decides which direction is simulated, so that traces of the physics do not mark one of the two.
    label = 2 * pair + int(random.integers(2))
    thing = None
    if random.random() < config.held:
        thing = draw_thing(random, "held", str(random.choice(list(COLOURS))))
    passage = draw_passage(random, CLASSES[label], thing is not None, config)
    if thing is not None:
        thing = moved_into_hand(thing, passage)

    # Nothing may stand under the middle of the motion. The hand then touches nothing on the table, so the
    # objects there need no physics.
    keep_free = Layout()
    keep_free.take((passage.position[0], passage.position[1]), 0.11)
    camera = Viewpoints(azimuth=config.azimuth, fovy=(37.0, 43.0))
    scene_config = SceneConfig(tray=0.5, occluder=0.0, camera=camera, movable=False)
    return Shot(label, passage, thing, draw_scene(random, scene_config, thing, keep_free))


def draw_passage(random: Generator, name: str, holding: bool, config: MotionClipConfig) -> Passage:
    """A motion of the class. Nothing about its middle depends on the class."""
    seconds = (config.frames - 1) / config.fps  # from the first frame to the last
    direction = np.array(DIRECTIONS.get(name, (0, 0, 0)), float)
    shorter = 0.85 if direction[2] else 1.0  # a hand that moves downwards has to stay clear of the table
    # Arguments are evaluated in order, and so are the random draws. All classes draw the same numbers.
    return Passage(
        position=random.uniform((0.45, -0.07, 0.21), (0.55, 0.07, 0.27)),
        yaw=random.uniform(-0.5, 0.5),
        closedness=1.0 if holding else random.uniform(0, 1),
        shift=direction * random.uniform(*config.shift) * shorter,
        turn=TURNS.get(name, 0) * random.uniform(*config.turn),
        seconds=seconds,
        rest=random.uniform(0.05, 0.4) * seconds,
        # Yaw is in radians: 6 of them for every metre of the other amplitudes.
        wobble=config.wobble * random.uniform(0, 1, 4) * (1, 1, 1, 6),
        wave=np.stack([random.uniform(3, 8, 4), random.uniform(0, 2 * np.pi, 4)]),
    )


def moved_into_hand(thing: Thing, passage: Passage) -> Thing:
    """The object between the fingers, where the motion starts."""
    hang = max(0.0, thing.size[2] - 0.035)  # tall objects hang lower, clear of the palm
    place = passage(0.0).position - (0, 0, hang)
    return moved_to(thing, place, passage.yaw - passage.turn / 2)


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


def shot_of(clip: Mapping[str, str], config: MotionClipConfig) -> Shot:
    """The shot from which a row of the manifest was filmed, drawn again.

    Raises UserError if no shot of the row's seed has the row's facts.
    """
    # The manifest does not say which attempt kept its object, and simulating them again would take long.
    # But the row holds numbers that were drawn, and these identify the attempt.
    for attempt in range(SHOT_ATTEMPTS):
        shot = draw_shot(np.random.default_rng([int(clip["seed"]), attempt]), int(clip["label"]) // 2, config)
        drawn = facts(shot.passage, shot.thing)
        if all(str(drawn[name]) == clip[name] for name in ("held", "metres", "radians", "moving_seconds")):
            return shot
    raise UserError(f"{clip['path']} was not filmed by this version of the demo world; make the clips anew")

"""Films of labelled motions in time-reversed pairs.

A motion is simulated and rendered once and used twice: forwards under its own label, backwards under its
partner's. A coin toss decides which of the two is simulated. So the middle frames of a pair are the same
image, and those of different pairs come from the same distribution.

    forwards, backwards = film_pair(seed=0, pair=0, config=MotionClipConfig())
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from numpy.random import Generator

from vjepa.sim.recording.shots import CLASSES, DIRECTIONS, SHOT_ATTEMPTS, MotionClipConfig, draw_shot, facts
from vjepa.sim.world.arm import TIMESTEP, Command, Simulation
from vjepa.sim.world.panda import OPENING
from vjepa.sim.world.render import Renderer
from vjepa.sim.world.things import Thing

STATE = ("x", "y", "z", "roll", "pitch", "yaw", "closedness")
"""Columns of the manifest that hold the arm's state."""
SETTLE = 0.3
"""Seconds for the fingers to take hold of the object before the first frame."""
SLIP = 0.02
"""Metres that a held object may move in the hand. If it moves further, the hand has lost it."""


class Clip(NamedTuple):
    """Frames of the class `label`, and facts for the manifest."""

    frames: UInt8[ndarray, "t h w 3"]
    label: int
    facts: dict[str, str | float]

    @property
    def backwards(self) -> "Clip":
        """The same film backwards, under the partner's label."""
        return Clip(self.frames[::-1], self.label ^ 1, {**self.facts, "reversed": 1 - self.facts["reversed"]})

    @property
    def direction(self) -> str:
        """Where the hand goes, for the six classes in which it goes somewhere."""
        name = CLASSES[self.label]
        return name if name in DIRECTIONS else ""


def film_pair(seed: int, pair: int, config: MotionClipConfig) -> tuple[Clip, Clip]:
    """Simulate and render one motion of pair 0..3. The same arguments give the same bytes.

    Returns the clip and its reversal, under the labels of two partners.
    """
    # `shots.shot_of` draws the same attempts again.
    for attempt in range(SHOT_ATTEMPTS):
        clip = film(np.random.default_rng([seed, attempt]), pair, config)
        if clip is not None:
            return clip, clip.backwards
    raise RuntimeError(
        f"clip seed {seed}: the hand lost its object {SHOT_ATTEMPTS} times in a row; please report this seed"
    )


def film(random: Generator, pair: int, config: MotionClipConfig) -> Clip | None:
    """One motion of the pair in either direction, or None if the hand lost the object that it held."""
    label, passage, thing, scene = draw_shot(random, pair, config)
    simulation = Simulation(scene.xml)
    grip(simulation, passage(0.0), thing)
    renderer = Renderer(simulation.model, simulation.data, scene, config.size)
    # Measured after the grip: how far the closing fingers move the object is not slip.
    offset = offset_in_hand(simulation, thing)

    # `follow` reports the frames after time zero, so the first one is taken here.
    frames = [renderer(simulation.data).rgb]
    states = [simulation.state]

    def on_frame() -> None:
        frames.append(renderer(simulation.data).rgb)
        states.append(simulation.state)

    simulation.steps = 0  # time starts here, when the hand has taken hold
    steps = round((config.frames - 1) / config.fps / TIMESTEP)
    simulation.follow(passage, steps, config.fps, on_frame)
    if np.linalg.norm(offset_in_hand(simulation, thing) - offset) > SLIP:
        return None
    return Clip(np.stack(frames), label, facts(passage, thing) | middle_state(states))


def grip(simulation: Simulation, start: Command, thing: Thing | None) -> None:
    """Put the hand at the start of its way, around the object if there is one, and let the fingers settle."""
    # Just wide enough for the object: fingers that start inside it would be pushed out. Then they close.
    closedness = start.closedness if thing is None else 1 - 2 * thing.size[1] / OPENING
    simulation.place(start._replace(closedness=closedness))
    simulation.follow(lambda time: start, round(SETTLE / TIMESTEP))


def offset_in_hand(simulation: Simulation, thing: Thing | None) -> ndarray:
    """The held object's centre in the hand's frame (3,), metres; zero if there is none."""
    return np.zeros(3) if thing is None else simulation.in_hand(thing.name)


def middle_state(states: list[ndarray]) -> dict[str, float]:
    """What the robot measures in the middle frame, which a clip and its reversal share: metres, radians,
    closedness.

    The hand points down, a roll of pi. So rolls are given from 0 to 2 pi, where they do not jump.
    """
    state = states[len(states) // 2].copy()
    state[3] %= 2 * np.pi
    return dict(zip(STATE, state.round(4).tolist(), strict=True))

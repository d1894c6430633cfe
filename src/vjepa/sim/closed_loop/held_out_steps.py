"""Energy landscapes of recorded steps: is the true action's quadrant where the least energy is? (V-JEPA 2, section 4.2)

The goal of a step is the very next frame.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange

from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.planning.landscape import Landscape, LandscapeConfig, energy_landscape
from vjepa.planning.world_model import WorldModel
from vjepa.robots.readers.lerobot import LeRobot
from vjepa.robots.windows import TrajectoryConfig, Windows


@dataclass(frozen=True)
class StepsConfig:
    steps: int = 100
    """Recorded steps, drawn from all that move enough; 0 for none."""
    least: float = 0.015
    """Metres that a step moves the hand along each swept axis, at least: a quadrant of a step along an axis is chance."""
    sweep: LandscapeConfig = field(default_factory=lambda: LandscapeConfig(span=(0.075, 0.075), points=11))
    """Which plane of actions, and how finely."""


class Shares(NamedTuple):
    """Over all steps."""

    steps: int
    quadrant: float
    """Share of steps whose minimum lies in the quadrant of the true action."""
    mean_angle: float
    median_angle: float
    """Degrees between minimum and true action, seen from no motion."""


Step = tuple[int, int]
"""An episode, and a row of it."""


def pairs_of_frames(data: LeRobot, size: int) -> Windows:
    """What a step is read with."""
    return Windows(data, TrajectoryConfig(frames=2, fps=data.fps, size=size))


def moving_steps(windows: Windows, config: StepsConfig, seed: int = 0) -> list[Step]:
    """Some steps that move enough. Raises UserError if there are too few."""
    data = windows.data
    moving = [
        (episode, row)
        for episode in windows.episodes.tolist()
        for row in torch.nonzero(moves(data, episode, config))[:, 0].tolist()
    ]
    enough = len(moving) >= config.steps
    require(
        enough,
        f"{data.folder}: {len(moving)} steps move {config.least} m along both axes, of {config.steps} wanted",
    )
    chosen = np.random.default_rng(seed).permutation(len(moving))[: config.steps]
    return [moving[i] for i in chosen.tolist()]


def moves(data: LeRobot, episode: int, config: StepsConfig) -> torch.Tensor:
    """Which steps of an episode move enough."""
    states = data.states[data.rows(episode)][:, list(config.sweep.axes)]
    return (states.diff(dim=0).abs() >= config.least).all(dim=-1)


def landscape(world: WorldModel, windows: Windows, step: Step, sweep: LandscapeConfig) -> Landscape:
    episode, row = step
    window = windows.read(episode, row, windows.cameras[0], None)
    tokens = world.encode(rearrange(normalise(window.clip[:, None]), "t c 1 h w -> t c h w"))
    return energy_landscape(world.energy(tokens[:1], window.states[:1], tokens[1:]), window.actions, sweep)


def shares(found: list[Landscape]) -> Shares:
    angles = np.degrees([one.angle for one in found])
    right = np.mean([one.same_quadrant for one in found])
    return Shares(len(found), float(right), float(angles.mean()), float(np.median(angles)))

"""Energy landscapes of recorded steps (V-JEPA 2, section 4.2).

For every step, is the least energy in the same quadrant of the plane of actions as the action that was taken?
The goal of a step is the very next frame.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Tensor

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
    """Metres that a step moves the hand along each swept axis, at least: less leaves quadrants to chance."""
    sweep: LandscapeConfig = field(default_factory=lambda: LandscapeConfig(span=(0.075, 0.075), points=11))
    """Which plane of actions, and how finely."""


class LandscapeSummary(NamedTuple):
    """All landscapes together."""

    steps: int
    quadrant: float
    """Share of steps whose minimum lies in the quadrant of the true action."""
    mean_angle: float
    """Degrees between the minimum and the true action, seen from no motion."""
    median_angle: float


Step = tuple[int, int]
"""Number of an episode, and of a row in it."""


def frame_pairs(data: LeRobot, size: int) -> Windows:
    """Windows of a frame and the next one, in images of `size` pixels."""
    return Windows(data, TrajectoryConfig(frames=2, fps=data.fps, size=size))


def moving_steps(windows: Windows, config: StepsConfig, seed: int = 0) -> list[Step]:
    """`config.steps` random steps that move enough. Raises UserError if there are too few."""
    data = windows.data
    steps = []
    for episode in windows.episodes.tolist():
        rows = torch.nonzero(moves_enough(data, episode, config))[:, 0]
        steps += [(episode, row) for row in rows.tolist()]
    require(
        len(steps) >= config.steps,
        f"{data.folder}: {len(steps)} steps move {config.least} m along both axes, "
        f"but steps.steps={config.steps}; ask for fewer steps or less motion",
    )
    # Neighbouring steps are alike, so take them from all over the episodes.
    order = np.random.default_rng(seed).permutation(len(steps))
    return [steps[index] for index in order[: config.steps].tolist()]


def moves_enough(data: LeRobot, episode: int, config: StepsConfig) -> Bool[Tensor, " steps"]:
    """Which steps of an episode move the hand by `config.least` along every swept axis."""
    positions = data.states[data.rows(episode)][:, list(config.sweep.axes)]
    return (positions.diff(dim=0).abs() >= config.least).all(dim=-1)


def step_landscape(world: WorldModel, windows: Windows, step: Step, sweep: LandscapeConfig) -> Landscape:
    """The energy of reaching the next frame, around the action that did."""
    episode, row = step
    window = windows.read(episode, row, windows.cameras[0], None)
    tokens = world.encode(rearrange(normalise(window.clip[:, None]), "t c 1 h w -> t c h w"))
    energy = world.energy(tokens[:1], window.states[:1], tokens[1:])
    return energy_landscape(energy, window.actions, sweep)


def summarise(landscapes: list[Landscape]) -> LandscapeSummary:
    angles = np.degrees([landscape.angle for landscape in landscapes])
    quadrant = np.mean([landscape.same_quadrant for landscape in landscapes])
    return LandscapeSummary(len(landscapes), float(quadrant), float(angles.mean()), float(np.median(angles)))

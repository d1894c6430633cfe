"""Energy landscapes of recorded steps (V-JEPA 2, section 4.2).

The question for every step: does the minimum of the energy lie in the same quadrant of the plane of actions
as the action that was taken? The goal of a step is the next frame.
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
    """Which recorded steps get an energy landscape."""

    steps: int = 100
    """Number of recorded steps, drawn from all that move enough; 0 for none."""
    least: float = 0.015
    """Least motion of the hand along each swept axis, in metres. With less, the quadrant would be chance."""
    sweep: LandscapeConfig = field(default_factory=lambda: LandscapeConfig(span=(0.075, 0.075), points=11))
    """Which plane of actions, and how finely."""


class LandscapeSummary(NamedTuple):
    """All landscapes together."""

    steps: int
    quadrant: float
    """Share of steps whose minimum lies in the quadrant of the true action, 0 .. 1."""
    mean_angle: float
    """Mean angle in degrees between the minimum and the true action, as directions from no motion."""
    median_angle: float
    """Median of that angle."""


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
    # Neighbouring steps are alike, so take steps from all episodes; with the same seed, always the same ones.
    order = np.random.default_rng(seed).permutation(len(steps))
    return [steps[index] for index in order[: config.steps].tolist()]


def moves_enough(data: LeRobot, episode: int, config: StepsConfig) -> Bool[Tensor, " steps"]:
    """Which steps of an episode move the hand by `config.least` along every swept axis."""
    positions = data.states[data.rows(episode)][:, list(config.sweep.axes)]
    return (positions.diff(dim=0).abs() >= config.least).all(dim=-1)


def step_landscape(world: WorldModel, windows: Windows, step: Step, sweep: LandscapeConfig) -> Landscape:
    """Energies of actions in a plane, when the goal is the next frame, beside the action that led there."""
    episode, row = step
    # Without a generator there is no random crop.
    window = windows.read(episode, row, windows.cameras[0], None)
    # The world model encodes frames, so the two times of the window become a batch.
    tokens = world.encode(rearrange(normalise(window.clip[:, None]), "t c 1 h w -> t c h w"))
    energy = world.energy(tokens[:1], window.states[:1], tokens[1:])
    return energy_landscape(energy, window.actions, sweep)


def summarise(landscapes: list[Landscape]) -> LandscapeSummary:
    """Figures over all landscapes, of which there is at least one."""
    angles = np.degrees([landscape.angle for landscape in landscapes])
    quadrant = np.mean([landscape.same_quadrant for landscape in landscapes])
    return LandscapeSummary(len(landscapes), float(quadrant), float(angles.mean()), float(np.median(angles)))

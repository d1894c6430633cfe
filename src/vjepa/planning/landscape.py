"""The energy over a plane of actions (V-JEPA 2, section 4.2, figure 9).

It shows whether the action of least energy is the one that the arm really took.

    landscape = energy_landscape(energy, actions, LandscapeConfig())
    landscape.minimum, landscape.truth      # two numbers each
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require
from vjepa.planning.energy import Energy

MOST_POINTS = 501
"""Points along an axis; their square is the number of imagined actions."""


@dataclass(frozen=True)
class LandscapeConfig:
    """Which plane of actions is swept, and how finely."""

    axes: tuple[int, int] = (0, 1)
    """The two action dimensions that are swept; the others keep their values."""
    span: tuple[float, float] = (0.15, 0.15)
    """Largest value of each, in its unit; the sweep goes from minus to plus this value."""
    points: int = 21
    """Values along each axis; an odd number includes zero."""
    step: int = 0
    """Which action of the sequence is swept."""

    def __post_init__(self) -> None:
        require(self.axes[0] != self.axes[1], f"landscape.axes={self.axes} are one axis; give two")
        require(min(self.axes) >= 0, f"landscape.axes={self.axes} are dimensions, counted from 0")
        require(min(self.span) > 0, f"landscape.span={self.span} must be positive")
        require(2 <= self.points <= MOST_POINTS, f"landscape.points={self.points}: give 2 to {MOST_POINTS}")
        require(self.step >= 0, f"landscape.step={self.step} is an action, counted from 0")


class Landscape(NamedTuple):
    """Energies on a grid: row `i`, column `j` is the action whose axes are `y[i]` and `x[j]`."""

    x: Float[Tensor, " X"]
    y: Float[Tensor, " Y"]
    energies: Float[Tensor, "Y X"]
    truth: Float[Tensor, "2"]
    """The two axes of the true action, (x, y)."""

    @property
    def minimum(self) -> Float[Tensor, "2"]:
        """The swept action of least energy, (x, y)."""
        row, column = divmod(int(self.energies.argmin()), len(self.x))
        return torch.stack([self.x[column], self.y[row]])

    @property
    def same_quadrant(self) -> bool:
        """Whether the minimum lies in the true action's quadrant, borders not counted."""
        # The least that a closed loop needs: the right signs bring the arm closer at every step.
        return bool((self.minimum * self.truth > 0).all())

    @property
    def angle(self) -> float:
        """Radians between the directions of the minimum and of the true action; 0 to pi."""
        difference = _direction(self.minimum) - _direction(self.truth)
        # Sine and cosine bring the difference into +-pi.
        return float(torch.atan2(difference.sin(), difference.cos()).abs())

    def arrays(self) -> dict[str, np.ndarray]:
        """All fields and the minimum as numpy arrays, by name."""
        tensors = self._asdict() | {"minimum": self.minimum}
        return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}

    def save(self, path: Path) -> None:
        """Write `arrays` as `.npz`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **self.arrays())


def _direction(point: Float[Tensor, "2"]) -> Float[Tensor, ""]:
    """Radians, counted from the x axis; the point of no motion is the origin."""
    return torch.atan2(point[1], point[0])


def energy_landscape(energy: Energy, actions: Float[Tensor, "T a"], config: LandscapeConfig) -> Landscape:
    """Sweep two dimensions of one of the true `actions`; all others keep their true values.

    `energy` is called once, for the whole plane.

    Raises UserError if the axes or the step are not among the actions'.
    """
    T, a = actions.shape
    known = 0 <= config.step < T and all(0 <= axis < a for axis in config.axes)
    require(known, f"landscape: step {config.step}, axes {config.axes} are not in {T} actions of {a} numbers")

    x, y = (torch.linspace(-span, span, config.points, device=actions.device) for span in config.span)
    # A slice through the true action; the released notebook's histogram sums energies over the third axis
    # instead. Cloned, because `repeat` may give a view of the one sequence.
    swept = repeat(actions, "T a -> Y X T a", Y=len(y), X=len(x)).clone()
    swept[:, :, config.step, config.axes[0]] = x
    swept[:, :, config.step, config.axes[1]] = y[:, None]
    energies = energy(rearrange(swept, "Y X T a -> (Y X) T a"))
    truth = actions[config.step, list(config.axes)]
    return Landscape(x, y, rearrange(energies, "(Y X) -> Y X", X=len(x)), truth)

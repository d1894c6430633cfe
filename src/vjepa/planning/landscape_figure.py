"""The picture of an energy landscape: a map of a plane of actions, with lines of equal energy."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vjepa.drawing.palette import INK, PAPER, SEQUENTIAL, TRUTH, WRONG
from vjepa.drawing.style import new_figure, save_figure, style
from vjepa.planning.landscape import Landscape, LandscapeConfig
from vjepa.robots.schema import StateSchema

if TYPE_CHECKING:  # matplotlib is in the `plot` extra
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet

READABLE = {"m": (100.0, "cm"), "rad": (180 / np.pi, "degrees")}
"""Unit of a schema -> factor and name of the unit in the picture."""
SHADES = 60
"""Levels of colour: so many that the eye sees a smooth surface."""
LINES = 10
"""Contour lines."""


class Axis(NamedTuple):
    """One swept dimension of an action."""

    name: str
    unit: str
    factor: float
    """What a value is multiplied with to be in this unit."""


def swept_axes(schema: StateSchema, sweep: LandscapeConfig) -> tuple[Axis, Axis]:
    """The two dimensions that are swept, in units that people read: centimetres, degrees."""
    x, y = (
        Axis(schema.names[dim], *reversed(READABLE.get(schema.units[dim], (1.0, schema.units[dim]))))
        for dim in sweep.axes
    )
    return x, y


def plot_landscape(landscape: Landscape, axes: tuple[Axis, Axis], path: Path) -> None:
    """Draw the energy of every action, with the true action and the action of least energy marked.

    axes: What is swept, as from `swept_axes`.
    Raises UserError without matplotlib, which is in the `plot` extra.
    """
    with style():
        figure = new_figure(height=6.6, width=7.0)
        plane = figure.subplots()
        surface = draw_energies(plane, landscape, axes)
        draw_marks(plane, landscape, axes)
        x, y = (f"change of {axis.name}, {axis.unit}" for axis in axes)
        plane.set(xlabel=x, ylabel=y, box_aspect=1)
        plane.set_title("How far from the goal would each action lead?", loc="center")
        bar = figure.colorbar(surface, shrink=0.8, aspect=30, ticks=[0, surface.levels[-1]])
        bar.ax.set_yticklabels(["least\nenergy", f"+{surface.levels[-1]:.2g}"])
        bar.outline.set_visible(False)
        figure.legend(loc="outside lower center", ncols=3, handletextpad=0.2, columnspacing=1.2)
        save_figure(figure, path)


def draw_energies(plane: "Axes", landscape: Landscape, axes: tuple[Axis, Axis]) -> "QuadContourSet":
    """Energy as colour, and lines of equal energy."""
    arrays = landscape.arrays()
    # Differences of energies are small beside the energies, and they are all that a planner uses.
    above = arrays["energies"] - arrays["energies"].min()
    x = axes[0].factor * arrays["x"]
    y = axes[1].factor * arrays["y"]
    levels = np.linspace(0, max(above.max(), 1e-9), SHADES)
    surface = plane.contourf(x, y, above, levels=levels, cmap=SEQUENTIAL)
    # Fixed before the marks are drawn: a true action beyond the sweep must not add white margins.
    plane.set(xlim=x[[0, -1]], ylim=y[[0, -1]])
    lines = np.linspace(0, max(above.max(), 1e-9), LINES + 2)[1:-1]
    plane.contour(x, y, above, levels=lines, colors=PAPER, linewidths=0.7, alpha=0.6)
    return surface


def draw_marks(plane: "Axes", landscape: Landscape, axes: tuple[Axis, Axis]) -> None:
    """The action of least energy, the true action, and no motion, each named with its place in the legend."""
    factors = np.array([axis.factor for axis in axes])
    places = landscape.arrays()
    marks = {
        "least energy": ("X", PAPER, factors * places["minimum"]),
        "true action": ("o", TRUTH, factors * places["truth"]),
        "no motion": ("P", WRONG, np.zeros(2)),
    }
    look = {"markersize": 12, "markeredgecolor": INK, "markeredgewidth": 1.2, "linestyle": "", "zorder": 3}
    for name, (marker, colour, (x, y)) in marks.items():
        label = f"{name} ({x:.1f}, {y:.1f})"
        # Not clipped: the minimum may lie on the border.
        plane.plot(x, y, marker=marker, color=colour, label=label, clip_on=False, **look)

"""The look of matplotlib figures: fonts, colours, thin axes, no white margins.

    with style():
        figure = new_figure(height=4.0)
        axes = figure.subplots()
        ...
        save_figure(figure, Path("curves.png"))

matplotlib is in the `plot` extra, so it is imported when a figure is drawn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa.drawing.outputs import complete_file
from vjepa.drawing.palette import INK, PALETTE
from vjepa.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 8.0
"""Inches. A README shows a picture about 800 pixels wide, so 11 points are about 15 pixels there."""
DOTS = 200
"""Pixels per inch of a file, twice what a README shows: sharp on screens with fine pixels."""


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings within the block. Raises UserError without matplotlib."""
    try:
        from matplotlib import cycler, rc_context
    except ImportError as error:
        raise UserError("figures need matplotlib; pip install 'vjepa[plot]'") from error
    settings = {
        "font.size": 11,
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler(color=list(PALETTE.values())),
        "legend.frameon": False,
        "lines.linewidth": 2,
        "savefig.bbox": "tight",
        "savefig.pad_inches": 0.05,
        "savefig.dpi": DOTS,
    }
    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    with rc_context(settings | dict.fromkeys(coloured, INK)):
        yield


def new_figure(height: int | float, width: int | float = WIDTH) -> "Figure":
    """An empty figure, in inches, whose parts make room for one another. Call it within `style`."""
    # Not pyplot: no global state, and no window system on a server.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure as the kind of file that its name says. Call it within `style`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete_file(path) as unfinished:
        figure.savefig(unfinished)

"""Which classes a probe takes for which: the counts, and an image of them."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from vjepa.data.manifest import Manifest
from vjepa.drawing.palette import INK, PAPER, SHARES
from vjepa.drawing.style import new_figure, save_figure, style

if TYPE_CHECKING:  # matplotlib is in the `plot` extra
    from matplotlib.axes import Axes

MOST_NAMES = 40
"""The names of more classes than this do not fit beside a confusion matrix."""
MOST_NUMBERS = 20
"""Numbers in the cells of more classes than this cannot be read."""


def confusion_matrix(predictions: dict[str, np.ndarray], head: int, classes: int) -> Int[np.ndarray, "c c"]:
    """Number of clips by true class (first axis) and answered class (second axis)."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    # `counts[...] += 1` would count a repeated pair once.
    np.add.at(counts, (predictions["label"], predictions["answer"][:, head]), 1)
    return counts


def draw_confusion(path: Path, confusion: Int[np.ndarray, "c c"], names: Sequence[str], title: str) -> None:
    """An image of each true class's answers, or a printed note if matplotlib is missing.

    Rows are true classes, columns are answers; a cell is a share of the row's clips.
    """
    if find_spec("matplotlib") is None:
        print("confusion.png is left out: it needs matplotlib; pip install 'vjepa[plot]'")
        return
    # A class without clips has a row of zeros.
    shares = confusion / confusion.sum(axis=1, keepdims=True).clip(1)
    side = min(3.2 + 0.4 * len(names), 12)  # inches: 0.4 for each cell
    with style():
        figure = new_figure(height=side, width=side + 1.6)
        axes = figure.subplots()
        cells = axes.imshow(100 * shares, vmin=0, vmax=100, cmap=SHARES)
        axes.set(xlabel="answer; a row adds up to 100 %", ylabel="true class")
        axes.set_title(title, loc="center")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if len(names) <= MOST_NAMES:
            name_classes(axes, names)
        if len(names) <= MOST_NUMBERS:
            write_shares(axes, shares)
        else:
            figure.colorbar(cells, shrink=0.7, label="share of the true class, %")
        save_figure(figure, path)


def name_classes(axes: "Axes", names: Sequence[str]) -> None:
    words = [name.replace("_", " ") for name in names]
    places = range(len(names))
    axes.set_yticks(places, words)
    axes.set_xticks(places, words, rotation=40, ha="right", rotation_mode="anchor")


def write_shares(axes: "Axes", shares: Float[np.ndarray, "c c"]) -> None:
    """Per cent in every cell. What rounds to nothing is left out, so that mistakes stand out."""
    for row, column in np.argwhere(shares >= 0.005):
        share = shares[row, column]
        # White on dark cells, dark on light ones.
        colour = PAPER if share > 0.5 else INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour)


def class_names(manifest: Manifest, classes: int) -> list[str]:
    """The manifest's column `label_name` where it names a class; otherwise the class's number."""
    # The manifest of one split may not show every class.
    names = dict(enumerate(map(str, range(classes))))
    names |= {number: name for name, number in (manifest.classes or {}).items()}
    if "label_name" in manifest.table.column_names:
        names |= dict(zip(manifest.labels.tolist(), manifest.table["label_name"].to_pylist(), strict=True))
    return [str(names[i]) for i in range(classes)]

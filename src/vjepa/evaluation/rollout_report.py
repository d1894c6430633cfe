"""The report of rollout errors: means for the logger, and the files and the table after a test."""

import json
from collections.abc import Mapping
from math import nan
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from vjepa.evaluation.rollout_error import ROWS, error_table
from vjepa.evaluation.rollout_figure import save_error_figure


def mean_errors(errors: Mapping[str, Float[Tensor, "_ T"]]) -> dict[str, Float[Tensor, ""]]:
    """The mean over windows of each row and horizon, as `model_1`, `model_2`, ...; no row without windows."""
    means = {row: error.mean(dim=0) for row, error in errors.items() if len(error)}
    return {f"{row}_{k}": value for row, mean in means.items() for k, value in enumerate(mean, 1)}


def error_names(horizons: int) -> list[str]:
    """The names of `mean_errors`, for all rows."""
    return [f"{row}_{k}" for row in ROWS for k in range(1, horizons + 1)]


def is_curve(name: str, horizons: int) -> bool:
    """Whether a mean error becomes a curve: model and persistence, at the first and at the last horizon.

    All errors over all horizons are one figure; 32 curves would bury the others. name: as in `mean_errors`.
    """
    row, _, k = name.rpartition("_")
    return row in ("model", "persistence") and int(k) in (1, horizons)


def curves_of(metrics: Mapping[str, Tensor], split: str, horizons: int) -> dict[str, list[float]]:
    """For every row its logged error after 1, 2, ... actions; NaN where nothing was logged."""
    steps = range(1, horizons + 1)
    return {row: [float(metrics.get(f"{split}/{row}_{k}", nan)) for k in steps] for row in ROWS}


def write_report(curves: dict[str, list[float]], windows: int, out: Path) -> None:
    """Write `horizons.json` and `horizons.png` to the folder, and print the table."""
    (out / "horizons.json").write_text(json.dumps({"windows": windows, "errors": curves}, indent=1))
    title = f"How far ahead is the prediction right? {windows} held-out windows"
    save_error_figure(curves, title, out / "horizons.png")
    print(error_table(curves, windows))

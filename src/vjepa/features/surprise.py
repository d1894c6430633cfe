"""How much a predictor errs over time: what it did not foresee in a video.

A window slides over the video. The encoder reads its first half, the predictor predicts the second half,
and its error is counted at those moments. Each moment is predicted from up to four windows, so that near
and far predictions are averaged alike everywhere. Beside it stands the baseline "nothing changes".
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float64, UInt8
from torch import Tensor
from tqdm import tqdm

from vjepa.data.decode import Video, open_video
from vjepa.data.forward_reader import ForwardReader
from vjepa.data.manifest import Row
from vjepa.data.transforms import resized
from vjepa.drawing.outputs import complete_file
from vjepa.drawing.palette import CHANCE, OURS
from vjepa.drawing.style import new_figure, save_figure, style
from vjepa.errors import require
from vjepa.features.clip_features import clip_of
from vjepa.features.look_predictions import Forecaster, hidden_steps, load_forecaster
from vjepa.features.look_windows import Timing, VideoPlan, film_times, picture_size
from vjepa.models.device import find_device
from vjepa.weights.card import read_card
from vjepa.weights.load import load_encoder

TIMES_PREDICTED = 4
"""Windows by which each moment is predicted, where the hidden half has so many steps."""
PEAKS = 3
"""Peaks that are named."""


@dataclass(frozen=True)
class Curve:
    """Errors of one video over time. The first moments, which no window can predict, are missing."""

    row: Row
    starts: Float64[np.ndarray, " n"]
    """Seconds at which each moment begins."""
    step: float
    """Seconds of a moment."""
    predicted: Float64[np.ndarray, " n"]
    unchanged: Float64[np.ndarray, " n"]

    def peaks(self) -> list[float]:
        """Seconds of the middles of the highest peaks above the mean, the highest first."""
        padded = np.pad(self.predicted, 1, constant_values=-np.inf)
        # Strictly above the moment before, so that of equal neighbours only the first is a peak.
        is_peak = (self.predicted > padded[:-2]) & (self.predicted >= padded[2:])
        is_peak &= self.predicted > self.predicted.mean()
        highest = sorted(np.flatnonzero(is_peak), key=lambda place: -self.predicted[place])
        return [float(self.starts[place] + self.step / 2) for place in highest[:PEAKS]]


def write_surprise(rows: Sequence[Row], source: Path, out: Path, device: str) -> Path:
    """Write the errors of all videos to a CSV and draw them in a PNG of the same name. Returns the CSV."""
    with style():  # before the work, if matplotlib is missing
        pass
    card = read_card(source)
    require(
        "predictor" in card.parts,
        f"{source} holds no predictor, which --surprise needs; give another --encoder",
    )
    target = load_encoder(source).to(find_device(device)).eval()
    forecaster = load_forecaster(source, card, target)
    require(
        forecaster is not None,
        f"{source} holds a distilled encoder, whose predictor predicts a teacher's tokens; --surprise needs "
        "another --encoder",
    )
    timing = Timing(clip_of(source), target.config.tubelet, 1)
    curves = [curve_of(row, timing, forecaster) for row in rows]
    write_curves(out, curves)
    figure = out.with_suffix(".png")
    draw_curves(figure, curves)
    for curve in curves:
        print(summary(curve))
    print(f"{out} and {figure}; weights: {card.name}")
    return out


def curve_of(row: Row, timing: Timing, forecaster: Forecaster) -> Curve:
    """The errors over one video. Raises UserError for an image, and for a video shorter than a window."""
    with open_video(row.path) as video:
        start, end = video.segment(row.start, row.end)
        steps = int((end - start) / timing.step_seconds + 1e-6) if np.isfinite(end) else 0
        length = timing.steps * timing.step_seconds
        require(
            steps >= timing.steps > 1,
            f"{row.path} is too short to be predicted: a window of this encoder is {length:g} s long",
        )
        errors = np.zeros((2, steps))
        counts = np.zeros(steps)
        hidden = hidden_steps(timing.steps)
        firsts = range(0, steps - timing.steps + 1, -(-hidden // TIMES_PREDICTED))
        size = picture_size(video.height, video.width, timing.clip.size, forecaster.target.config.patch)
        plan = VideoPlan(row, end - start, size, [], 0)
        begins = [start + first * timing.step_seconds for first in firsts]
        clips = window_clips(video, plan, begins, timing)
        for first, clip in zip(tqdm(firsts, unit="window", desc=row.path.name), clips, strict=True):
            places = slice(first + timing.steps - hidden, first + timing.steps)
            errors[:, places] += window_errors(clip, forecaster)
            counts[places] += 1
    known = counts > 0
    starts = start + np.arange(steps)[known] * timing.step_seconds
    predicted, unchanged = errors[:, known] / counts[known]
    return Curve(row, starts, timing.step_seconds, predicted, unchanged)


def window_clips(
    video: Video, plan: VideoPlan, begins: Sequence[float], timing: Timing
) -> Iterator[UInt8[Tensor, "t h w c"]]:
    """The frames of windows that begin at rising seconds, resized; what they share is decoded once."""
    reader = ForwardReader(video, partial(resized, size=plan.size))
    times = [film_times(video, plan, begin, timing) for begin in begins]
    for number, own in enumerate(times):
        later = times[number + 1 : number + 1 + timing.steps]  # windows that begin later do not overlap
        yield torch.from_numpy(reader.clip(own, np.concatenate([own[:0], *later])))


def window_errors(clip: UInt8[Tensor, "t h w c"], forecaster: Forecaster) -> Float64[np.ndarray, "2 m"]:
    """Mean errors of predictor and baseline at the hidden steps of a window."""
    hidden = forecaster.errors(rearrange(clip, "t h w c -> t c h w"))
    return torch.stack([hidden.predicted, hidden.unchanged]).double().mean(dim=(2, 3)).numpy()


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write a row for each moment: seconds, the predictor's error and the baseline's."""
    with complete_file(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "start", "end", "error", "error_if_nothing_changes"])
        for curve in curves:
            for start, error, baseline in zip(curve.starts, curve.predicted, curve.unchanged, strict=True):
                seconds = [f"{start:.3f}", f"{start + curve.step:.3f}"]
                lines.writerow([curve.row.path, *seconds, f"{error:.5f}", f"{baseline:.5f}"])


def draw_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Draw the curves of each video, one below another. Raises UserError without matplotlib."""
    with style():
        figure = new_figure(height=0.6 + 2.6 * len(curves))
        for axes, curve in zip(figure.subplots(len(curves), squeeze=False)[:, 0], curves, strict=True):
            middles = curve.starts + curve.step / 2
            axes.plot(middles, curve.unchanged, color=CHANCE, label="baseline: nothing changes")
            axes.plot(middles, curve.predicted, color=OURS, label="predictor")
            for seconds in curve.peaks():
                height = curve.predicted[np.abs(middles - seconds).argmin()]
                where = {"textcoords": "offset points", "ha": "center"}
                axes.annotate(f"{seconds:.1f} s", (seconds, height), (0, 6), **where)
            axes.set(title=f"What was not foreseen in {curve.row.path.name}", ylabel="L1 error of a token")
            axes.set_ylim(0, 1.2 * max(curve.predicted.max(), curve.unchanged.max()))
            axes.legend()
        axes.set_xlabel("seconds of the video")
        save_figure(figure, path)


def summary(curve: Curve) -> str:
    """One line: the mean errors, and when the greatest were."""
    peaks = ", ".join(f"{seconds:.1f} s" for seconds in curve.peaks())
    means = f"error {curve.predicted.mean():.3f}, if nothing changed {curve.unchanged.mean():.3f}"
    return f"{curve.row.path.name}: {means}; least foreseen at {peaks}"

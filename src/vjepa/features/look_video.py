"""One video as `look` shows it, and what all videos of a page share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from vjepa.features.components import Components, TokenStatistics, cosine_error
from vjepa.features.foreground import Foreground, find_foreground, foreground_masks, patch_motion
from vjepa.features.look_predictions import Forecaster
from vjepa.features.look_windows import EncodedWindow, Timing, VideoPlan, encoded_windows
from vjepa.features.token_colours import component_colours
from vjepa.models.encoder import Encoder

VECTOR = 32
"""Components by which the page compares tokens: more make cosines exacter and the page larger."""


@dataclass(frozen=True)
class Shown:
    """The shown steps of one video."""

    plan: VideoPlan
    film: UInt8[Tensor, "t c h w"]
    starts: list[float]
    """Seconds of the video at which each step begins."""
    tokens: Float16[Tensor, "T H W d"]
    motion: Float[Tensor, "T H W"]
    errors: Float[Tensor, "T H W"] | None
    """The predictor's at hidden steps, NaN at steps that the encoder saw; None without a predictor."""
    unchanged: list[float]
    """The mean error of the baseline at each step, NaN likewise; empty without a predictor."""


class WindowSteps(NamedTuple):
    """The shown steps of one window, as in `Shown`."""

    film: UInt8[Tensor, "film c h w"]
    starts: list[float]
    tokens: Float[Tensor, "T H W d"]
    motion: Float[Tensor, "T H W"]
    errors: Float[Tensor, "T H W"]
    """NaN where nothing is predicted."""
    unchanged: Float[Tensor, " T"]


@dataclass(frozen=True)
class Look:
    """Everything that a page shows."""

    videos: list[Shown]
    timing: Timing
    components: Components
    foreground: Foreground
    colours: list[UInt8[Tensor, "_T _H _W 3"]]
    masks: list[Float[Tensor, "_T _H _W"]]
    """1 in the foreground, 0 in the background."""
    cosine_error: float
    """Mean absolute error of the cosines that the page computes."""


def look_at(
    plans: Sequence[VideoPlan],
    timing: Timing,
    encoder: Encoder,
    forecaster: Forecaster | None,
    progress: Callable[[], object],
) -> Look:
    """Encode all videos, with components that they share. `progress` is called after each window."""
    statistics = TokenStatistics()
    videos = [show_video(plan, timing, encoder, forecaster, statistics, progress) for plan in plans]
    components = statistics.components(VECTOR)
    projected = [components.project(video.tokens) for video in videos]
    foreground = find_foreground(projected, [video.motion for video in videos])
    tokens = torch.cat([video.tokens.flatten(0, 2)[::7] for video in videos])
    return Look(
        videos,
        timing,
        components,
        foreground,
        component_colours(projected, foreground.component, foreground.sign),
        foreground_masks([foreground.scores(part) for part in projected]),
        cosine_error(tokens, components),
    )


def show_video(
    plan: VideoPlan,
    timing: Timing,
    encoder: Encoder,
    forecaster: Forecaster | None,
    statistics: TokenStatistics,
    progress: Callable[[], object],
) -> Shown:
    """Encode the windows of one video. Its tokens are counted in `statistics`."""
    windows = []
    for window in encoded_windows(plan, timing, encoder):
        steps = shown_steps(window, timing, forecaster)
        statistics.add(steps.tokens)
        windows.append(steps._replace(tokens=steps.tokens.half()))
        progress()
    films, starts, tokens, motion, errors, unchanged = zip(*windows, strict=True)
    # Nothing is predicted without a predictor, or if the video ends before the hidden half.
    none = bool(torch.cat(errors).isnan().all())
    return Shown(
        plan,
        torch.cat(films),
        list(chain.from_iterable(starts)),
        torch.cat(tokens),
        torch.cat(motion),
        None if none else torch.cat(errors),
        [] if none else torch.cat(unchanged).tolist(),
    )


def shown_steps(window: EncodedWindow, timing: Timing, forecaster: Forecaster | None) -> WindowSteps:
    """The steps of a window that its video shows: windows may overlap."""
    piece = window.piece
    steps, rows, columns = window.tokens.shape[:3]
    shown = slice(piece.first, piece.stop)
    per_step = len(window.film) // steps
    errors = torch.full((2, steps, rows, columns), torch.nan)
    # An image has no half that could be hidden.
    if forecaster and steps > 1:
        hidden = forecaster.errors(window.clip, window.tokens)
        errors = torch.stack([in_window(hidden.predicted, steps), in_window(hidden.unchanged, steps)])
    return WindowSteps(
        window.film[piece.first * per_step : piece.stop * per_step],
        [piece.start + step * timing.step_seconds for step in range(steps)[shown]],
        window.tokens[shown],
        patch_motion(window.clip, steps, rows, columns)[shown],
        errors[0, shown],
        errors[1, shown].mean(dim=(1, 2)),
    )


def in_window(hidden: Float[Tensor, "m H W"], steps: int) -> Float[Tensor, "T H W"]:
    """Values of the hidden steps in a window of so many; NaN at the steps before them."""
    seen = torch.full((steps - len(hidden), *hidden.shape[1:]), float("nan"))
    return torch.cat([seen, hidden])

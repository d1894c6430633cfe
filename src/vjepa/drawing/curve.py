"""A curve that grows with time, as frames beside a film: drawn with Pillow, so without matplotlib."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from vjepa.drawing.captions import SMALLEST
from vjepa.drawing.palette import CHANCE, INK, OURS, PAPER

FINER = 4
"""Lines are drawn so many times larger and then shrunk, because Pillow draws them with hard edges."""


def growing_curve(
    values: Sequence[float], height: int, width: int, colour: str = OURS
) -> UInt8[np.ndarray, "t h w 3"]:
    """One frame for each value: the curve up to it, and a dot at it.

    The axis begins at 0 and ends at the greatest value. Values are 0 or more, and at least one.
    """
    size = (FINER * height, FINER * width)
    points = places(values, *size)
    frames = [curve_frame(points[: now + 1], *size, colour) for now in range(len(points))]
    return np.stack([with_limits(frame, max(values)) for frame in frames])


def places(values: Sequence[float], height: int, width: int) -> list[tuple[float, float]]:
    """Where each value stands, in pixels (x, y) counted from the upper left."""
    # Room at the sides for the dot, and above for the number.
    margin = height / 8
    times = np.linspace(margin, width - margin, len(values))
    scale = (height - 2.5 * margin) / max(*values, 1e-9)
    return [(x, height - margin - scale * value) for x, value in zip(times.tolist(), values, strict=True)]


def curve_frame(points: Sequence[tuple[float, float]], height: int, width: int, colour: str) -> Image.Image:
    """The curve through the points with a dot at the last, shrunk to its final size."""
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    base = height - height / 8
    pen.line([(height / 8, base), (width - height / 8, base)], fill=CHANCE, width=FINER)
    if len(points) > 1:
        pen.line(points, fill=colour, width=3 * FINER, joint="curve")
    pen.circle(points[-1], 5 * FINER, fill=colour)
    return image.resize((width // FINER, height // FINER), Image.Resampling.LANCZOS)


def with_limits(image: Image.Image, greatest: float) -> UInt8[np.ndarray, "h w 3"]:
    """The frame with the axis' ends written at its left: the greatest value above, 0 below."""
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(SMALLEST + 1)
    pen.text((2, 1), f"{greatest:.2f}", fill=INK, font=font)
    pen.text((2, image.height - 2), "0", fill=INK, font=font, anchor="ls")
    return np.asarray(image)

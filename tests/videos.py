"""Small videos whose frames carry their number in the pixels, so that a test can tell which frame it got.

The number is written in binary, as white and black cells in a grid of 3 x 4; the first cell is always white,
the second always black, so that a picture that is turned or mirrored reads as -1. Cells are big enough to
survive lossy coding.
"""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

ROWS, COLUMNS = 3, 4
CLOCK = 90_000
"""Ticks in a second: divides by every common frame rate."""


def stamp(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """uint8 [h, w, 3]: the picture that says `number` (below 1024)."""
    bits = [1, 0] + [number >> k & 1 for k in range(ROWS * COLUMNS - 2)]
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    cells = np.array(bits, dtype=np.uint8).reshape(ROWS, COLUMNS) * 200 + 30
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def read_stamp(picture: np.ndarray) -> int:
    """The number in a picture [h, w, 3]; -1 if it is no upright stamp."""
    height, width = picture.shape[:2]
    rows = [(2 * r + 1) * height // (2 * ROWS) for r in range(ROWS)]
    columns = [(2 * c + 1) * width // (2 * COLUMNS) for c in range(COLUMNS)]
    bits = [int(picture[y - 2 : y + 3, x - 2 : x + 3].mean() > 128) for y in rows for x in columns]
    return sum(bit << k for k, bit in enumerate(bits[2:])) if bits[:2] == [1, 0] else -1


def read_stamps(clip: np.ndarray) -> list[int]:
    """The numbers in a clip [t, h, w, 3]."""
    return [read_stamp(picture) for picture in clip]


def even_times(count: int, rate: Fraction | int = 30) -> list[Fraction]:
    """Start of each frame, in seconds, at a constant rate."""
    return [Fraction(k) / rate for k in range(count)]


def uneven_times(count: int, seed: int = 0) -> list[Fraction]:
    """Start of each frame where every frame lasts between 1/60 and 1/10 of a second, whole milliseconds."""
    lengths = np.random.default_rng(seed).integers(17, 101, count)
    return [Fraction(int(total), 1000) for total in np.concatenate([[0], np.cumsum(lengths)[:-1]])]


def write_video(
    target: str | Path | object,
    times: Sequence[Fraction],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    options: dict[str, str] | None = None,
    format: str | None = None,
    turn: tuple[float, bool, bool] = (0, False, False),
    sound: bool = False,
    container_options: dict[str, str] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    ticks: int = CLOCK,
    b_frames: int | None = None,
) -> None:
    """Write stamps 0, 1, ... (or `pictures`) that appear at `times` (seconds) to a file name or a file
    object.

    `turn` tells players to turn what is stored by so many degrees counter-clockwise, then to mirror it
    left-right, then upside down. `sound` adds a silent track one second longer than the video. `ticks` of the
    stream's clock make a second.
    """
    pictures = pictures or [stamp(number, *size) for number in range(len(times))]
    target = str(target) if isinstance(target, os.PathLike) else target
    with av.open(target, "w", format=format, container_options=container_options or {}) as container:
        rate = Fraction(len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else Fraction(30)
        stream = container.add_stream(codec, rate=rate.limit_denominator(1001), options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.time_base = stream.time_base = Fraction(1, ticks)
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if any(turn):
            stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        if sound:
            add_sound(container, float(times[-1]) + 1)
        for picture, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = round(time * ticks)
            frame.time_base = Fraction(1, ticks)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_sound(path: Path, seconds: float = 1.0, cover: Path | None = None) -> None:
    """A silent sound file, with an image of its cover (jpeg) if given."""
    with av.open(str(path), "w", format="mp4") as container:
        if not cover:
            add_sound(container, seconds)
            return
        with av.open(str(cover)) as source:
            stream = container.add_stream_from_template(source.streams.video[0])
            stream.disposition = Disposition.attached_pic
            picture = next(source.demux())
            add_sound(container, seconds)
            picture.stream = stream
            container.mux(picture)


def add_sound(container: av.container.OutputContainer, seconds: float) -> None:
    """A silent track."""
    stream = container.add_stream("aac", rate=16_000)
    for start in range(0, int(seconds * 16_000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.pts = start
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_picture(path: Path, number: int, codec: str = "png", pix_fmt: str = "rgb24") -> None:
    """One stamp as an image file."""
    with av.open(str(path), "w", options={"update": "1"} if path.suffix != ".webp" else {}) as container:
        stream = container.add_stream(codec, pix_fmt=pix_fmt)
        stream.width = 96
        stream.height = 64
        frame = av.VideoFrame.from_ndarray(stamp(number), format="rgb24").reformat(format=pix_fmt)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class Pipe:
    """A file that can only be appended to: what is written through it has no duration in its header."""

    def __init__(self, path: Path):
        self.path = path
        path.touch()

    def write(self, data: bytes) -> int:
        with self.path.open("ab") as file:
            return file.write(data)

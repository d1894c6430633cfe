"""Frames to files: PNG images, GIF films for a README, H.264 films that every browser plays."""

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vjepa.drawing.outputs import complete_file

Frames = UInt8[np.ndarray, "t h w 3"]

PALETTE_FRAMES = 12
"""Frames from which a GIF's colours are chosen."""


def write_png(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write an RGB image."""
    with complete_file(path) as unfinished:
        Image.fromarray(np.ascontiguousarray(image)).save(unfinished, "PNG", optimize=True)


def write_mp4(path: Path, frames: Frames, fps: int | float, crf: int = 18) -> None:
    """Write frames as an H.264 film. The same frames always give the same bytes.

    H.264 needs even sides, so an odd one gets one more row or column, equal to its last.
    An interrupted call leaves no file under the name `path`.

    crf: x264's quality; smaller is better and larger on disk.
    """
    odd = [(0, side % 2) for side in frames.shape[1:3]]
    frames = np.pad(frames, ((0, 0), *odd, (0, 0)), mode="edge")
    rate = max(Fraction(fps).limit_denominator(1001), Fraction(1, 1001))  # a film has no rate of 0
    with complete_file(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        # mbtree=0: x264's look-ahead reads beyond images whose sides are no multiple of 64, so that 3 % of
        # videos would differ.
        # Short groups without B-frames make reading from the middle cheap.
        options = {"crf": str(crf), "preset": "veryfast", "g": "15", "bf": "0", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = 1 / rate
        stream.codec_context.thread_count = 1  # x264's bytes depend on the number of threads
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())  # what the encoder still holds back


def write_gif(path: Path, frames: Frames, fps: int | float, colours: int = 128, dither: bool = False) -> None:
    """Write frames as an animated GIF that plays for ever; see `gif_bytes`."""
    with complete_file(path) as unfinished:
        unfinished.write_bytes(gif_bytes(frames, fps, colours, dither))


def gif_bytes(frames: Frames, fps: int | float, colours: int = 128, dither: bool = False) -> bytes:
    """An animated GIF. All frames share one palette, so that what stands still is stored once.

    fps: Frames per second. GIF counts in hundredths of a second, and browsers slow down above 50.
    colours: At most 256; fewer make a smaller file.
    dither: Mix colours from dots. Smooth shades look smooth, but the file is about twice as large.
    """
    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), PALETTE_FRAMES)).round().astype(int)]
    palette = Image.fromarray(np.concatenate(list(chosen))).quantize(colours)
    how = Image.Dither.FLOYDSTEINBERG if dither else Image.Dither.NONE
    images = [Image.fromarray(frame).quantize(palette=palette, dither=how) for frame in frames]
    buffer = BytesIO()
    milliseconds = round(100 / fps) * 10
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return buffer.getvalue()

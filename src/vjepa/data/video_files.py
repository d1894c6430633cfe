"""Writes frames to files with PyAV: H.264 videos and PNG images."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from einops import rearrange
from jaxtyping import UInt8


def write_video(path: Path, frames: UInt8[np.ndarray, "t h w 3"], fps: int, crf: int = 18) -> None:
    """Write frames as an MP4. The same frames always give the same bytes.

    An interrupted call leaves no file under the name `path`.
    crf: x264's quality; smaller is better and larger on disk.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    with av.open(str(temporary), "w") as container:
        # mbtree=0: x264's look-ahead reads beyond images whose sides are no multiple of 64, so that 3 % of
        # videos would differ.
        # Short groups without B-frames make reading from the middle cheap.
        options = {"crf": str(crf), "preset": "veryfast", "g": "15", "bf": "0", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.codec_context.thread_count = 1  # x264's bytes depend on the number of threads
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())  # what the encoder still holds back
    temporary.replace(path)


def write_png(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Write an RGB image."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt = "rgb24"
    encoder.time_base = Fraction(1, 1)
    packets = encoder.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"))
    path.write_bytes(b"".join(bytes(packet) for packet in [*packets, *encoder.encode()]))


def filmstrip(
    frames: UInt8[np.ndarray, "t h w 3"], columns: int = 8, gap: int = 2
) -> UInt8[np.ndarray, "h strip 3"]:
    """`columns` frames, evenly spaced from first to last, side by side with white gaps of so many pixels."""
    chosen = frames[np.linspace(0, len(frames) - 1, columns).round().astype(int)]
    padded = np.pad(chosen, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    strip = rearrange(padded, "t h w c -> h (t w) c")
    return strip[:, : strip.shape[1] - gap]  # no gap after the last frame

"""Frames to files: H.264 videos and PNG pictures, through PyAV."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy import ndarray


def write_video(path: Path, frames: ndarray, fps: int, crf: int = 18) -> None:
    """Frames (t, h, w, 3) uint8 as an MP4, complete or not there at all; the same frames always give the same bytes."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
    with av.open(str(temporary), "w") as container:
        # mbtree: x264's look-ahead reads beyond pictures whose sides are no multiple of 64, so that 3 % of videos differ
        options = {"crf": str(crf), "preset": "veryfast", "g": "15", "bf": "0", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, fps)
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    temporary.replace(path)


def write_png(path: Path, picture: ndarray) -> None:
    """A picture (h, w, 3) uint8 as a PNG."""
    encoder = av.CodecContext.create("png", "w")
    encoder.height, encoder.width = picture.shape[:2]
    encoder.pix_fmt, encoder.time_base = "rgb24", Fraction(1, 1)
    packets = encoder.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
    path.write_bytes(b"".join(bytes(packet) for packet in [*packets, *encoder.encode()]))


def filmstrip(frames: ndarray, columns: int = 8, gap: int = 2) -> ndarray:
    """`columns` frames, evenly spaced from first to last, side by side: (t, h, w, 3) -> (h, columns * (w + gap) - gap, 3)."""
    chosen = frames[np.linspace(0, len(frames) - 1, columns).round().astype(int)]
    padded = np.pad(chosen, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)[:, :-gap]

"""python -m vjepa gallery --out classes.png: one filmstrip per class, partners below each other."""

from pathlib import Path

import numpy as np
from numpy import ndarray

from vjepa.data.video_files import filmstrip, write_png
from vjepa.sim.recording.motion_clips import CLASSES, MotionClipConfig, film_pair


def class_strips(seed: int, config: MotionClipConfig, columns: int) -> ndarray:
    """A picture with one row of `columns` frames for each class, in the order of the labels."""
    clips = [clip for pair in range(len(CLASSES) // 2) for clip in film_pair(seed + pair, pair, config)]
    rows = [filmstrip(clip.frames, columns) for clip in sorted(clips, key=lambda clip: clip.label)]
    padded = np.pad(np.stack(rows), ((0, 0), (0, 2), (0, 0), (0, 0)), constant_values=255)
    return np.concatenate(list(padded))


def gallery(*, out: Path, size: int = 128, columns: int = 7, seed: int = 0) -> None:
    """Write a PNG with one filmstrip per class.

    Args:
        out: The PNG file.
        size: Height and width of a frame in pixels.
        columns: Frames per row; an odd number shows the middle one, which partners share.
        seed: Another seed, other scenes.
    """
    write_png(out, class_strips(seed, MotionClipConfig(size=size), columns))
    print(f"{out}: rows from top to bottom are {', '.join(CLASSES)}")

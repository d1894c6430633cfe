"""An image of all classes of motion clips: one filmstrip per class, partners below each other.

python -m vjepa gallery --out classes.png
"""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from vjepa.data.video_files import filmstrip, write_png
from vjepa.sim.recording.motion_clips import film_pair
from vjepa.sim.recording.shots import CLASSES, MotionClipConfig


def gallery(*, out: Path, size: int = 128, columns: int = 7, seed: int = 0) -> None:
    """Write a PNG with one filmstrip per class.

    Args:
        out: The PNG file.
        size: Height and width of a frame in pixels.
        columns: Frames per row; an odd number shows the middle one, which partners share.
        seed: Decides scenes and motions.
    """
    write_png(out, class_strips(seed, MotionClipConfig(size=size), columns))
    print(f"{out}: rows from top to bottom are {', '.join(CLASSES)}")


def class_strips(seed: int, config: MotionClipConfig, columns: int) -> UInt8[ndarray, "h w 3"]:
    """One row of `columns` frames for each class, in the order of the labels."""
    clips = [clip for pair in range(len(CLASSES) // 2) for clip in film_pair(seed + pair, pair, config)]
    clips.sort(key=lambda clip: clip.label)
    strips = np.stack([filmstrip(clip.frames, columns) for clip in clips])
    # Two white rows below every strip.
    gap = ((0, 0), (0, 2), (0, 0), (0, 0))
    return np.concatenate(list(np.pad(strips, gap, constant_values=255)))

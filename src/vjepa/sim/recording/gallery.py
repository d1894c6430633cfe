"""An image of all classes of motion clips: one row of frames per class, partners below each other."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from vjepa.drawing.captions import SMALLEST, picture_table
from vjepa.drawing.film import write_png
from vjepa.drawing.outputs import check_outputs, check_picture_size
from vjepa.errors import check_positive, check_seed
from vjepa.sim.recording.dataset_folder import check_size
from vjepa.sim.recording.motion_clips import film_pair
from vjepa.sim.recording.shots import CLASSES, MotionClipConfig


def gallery(*, out: Path, size: int = 128, columns: int = 7, seed: int = 0) -> None:
    """Write a PNG with a row of frames per class, its name beside it, and the frames' times above.

    Args:
        out: The PNG file.
        size: Height and width of a frame in pixels.
        columns: Frames per row; an odd number shows the middle one, which partners share.
        seed: Decides scenes and motions.
    """
    check_size(size)
    check_positive(columns=columns)
    pixels = columns * len(CLASSES) * size**2
    check_picture_size(pixels, f"--columns {columns} and --size {size}")
    check_seed(seed)
    check_outputs([out])
    write_png(out, class_table(seed, MotionClipConfig(size=size), columns))
    print(f"{out} is written")


def class_table(seed: int, config: MotionClipConfig, columns: int) -> UInt8[ndarray, "h w 3"]:
    """One row of `columns` frames for each class, in the order of the labels."""
    clips = [clip for pair in range(len(CLASSES) // 2) for clip in film_pair(seed + pair, pair, config)]
    clips.sort(key=lambda clip: clip.label)
    # Evenly spaced from the first frame to the last.
    chosen = np.linspace(0, config.frames - 1, columns).round().astype(int)
    pictures = [list(clip.frames[chosen]) for clip in clips]
    names = [name.replace("_", " ") for name in CLASSES]
    times = [f"{number / config.fps:.1f} s" for number in chosen]
    # A README shrinks the image to its own width, and the text with it.
    return picture_table(pictures, names, times, size=max(SMALLEST, config.size // 7))

"""Frames as people have them, in the one layout that the library computes with.

    clip = channels_first(frames)      # NumPy, torch, PIL or a list of frames -> t c h w

The axis of length 3 decides which layout it is. Nothing is guessed beyond that.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor

from vjepa.errors import UserError

EXPECTED = (
    "expected uint8 frames of 3 channels, `t h w c` or `t c h w`, or one image without `t`, or a batch with "
    "`b` in front"
)


def channels_first(frames: Any) -> UInt8[Tensor, "*b t c h w"]:
    """A clip `t c h w`, or a batch `b t c h w`. An image becomes a clip of one frame.

    frames: uint8 with channels last or before the height: a tensor, an array, a PIL image, or a list of
        frames.

    Raises UserError that names both layouts for anything else.
    """
    given = as_tensor(frames)
    shape = f"{str(given.dtype).removeprefix('torch.')} {tuple(given.shape)}"
    if given.is_floating_point():
        raise UserError(
            f"got {shape}; {EXPECTED}. Floats of 0..255 become uint8 by `.round().astype('uint8')` or "
            "`.byte()`, those of 0..1 are multiplied by 255 before"
        )
    if given.dtype != torch.uint8 or given.ndim not in (3, 4, 5):
        raise UserError(f"got {shape}; {EXPECTED}")
    if 0 in given.shape[-3:]:
        raise UserError(f"got {shape}, which holds no pixels; {EXPECTED}")
    clip = given if given.ndim > 3 else given[None]
    if clip.shape[-3] == 3:  # also where the width happens to be 3: it is the layout of our own clips
        return clip
    if clip.shape[-1] == 3:
        return rearrange(clip, "... h w c -> ... c h w")
    hint = "; channels come before frames here, move them by `.transpose`" if clip.shape[-4] == 3 else ""
    raise UserError(f"got {shape}; {EXPECTED}{hint}")


def as_tensor(frames: Any) -> Tensor:
    """The frames as one tensor. Raises UserError for a list of frames of different sizes, and for text."""
    if isinstance(frames, Tensor):
        return frames
    if isinstance(frames, Sequence) and not isinstance(frames, str | bytes):
        tensors = [as_tensor(frame) for frame in frames]
        shapes = {tuple(tensor.shape) for tensor in tensors}
        if len(shapes) != 1:
            raise UserError(f"a list of frames of the sizes {sorted(shapes)}; {EXPECTED}, all of one size")
        return torch.stack(tensors)
    # A PIL image knows how to become an array, and one in grey or with transparency how to become RGB.
    array = np.asarray(frames.convert("RGB") if hasattr(frames, "convert") else frames)
    if array.dtype.kind not in "uifb":
        raise UserError(f"got {type(frames).__name__}; {EXPECTED}. A path is read by `read_clip`")
    # A copy where NumPy holds it backwards or for reading only, which torch does not take.
    return torch.from_numpy(np.array(array, order="C"))

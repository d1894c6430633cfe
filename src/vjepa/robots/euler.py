"""Euler angles: extrinsic xyz, radians, `R = Rz @ Ry @ Rx`, as in DROID's states.

    rotation = euler_to_matrix(angles)      # ... 3 -> ... 3 3
    angles = matrix_to_euler(rotation)      # the middle angle within +-pi/2

Both take torch tensors, for training and planning, and numpy arrays, for the simulator, and return the same
kind.
"""

from types import ModuleType
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

WELL_DETERMINED = 0.5
"""Cosine of 60 degrees: up to this middle angle double precision can read the last one directly."""


def euler_to_matrix(euler: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Angles to rotation matrices."""
    xp = _library_of(euler)
    cosine = xp.cos(euler)
    sine = xp.sin(euler)
    cx, cy, cz = (cosine[..., axis] for axis in range(3))
    sx, sy, sz = (sine[..., axis] for axis in range(3))
    rows = [
        xp.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx], -1),
        xp.stack([sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx], -1),
        xp.stack([-sy, cy * sx, cy * cx], -1),
    ]
    return xp.stack(rows, -2)


def matrix_to_euler(rotation: Float[Array, "*b 3 3"]) -> Float[Array, "*b 3"]:
    """Rotation matrices to angles. Near gimbal lock too, the three together give the same matrix."""
    xp = _library_of(rotation)
    cosine_y = xp.hypot(rotation[..., 2, 1], rotation[..., 2, 2])
    x = xp.arctan2(rotation[..., 2, 1], rotation[..., 2, 2])
    y = xp.arctan2(-rotation[..., 2, 0], cosine_y)

    # Near gimbal lock only the sum or the difference of x and z is determined. So z is read after x has been
    # turned back: whatever part of the sum rounding has given to x, z gets the rest.
    sine_x = xp.sin(x)
    cosine_x = xp.cos(x)
    sine_z = sine_x * rotation[..., 0, 2] - cosine_x * rotation[..., 0, 1]
    cosine_z = cosine_x * rotation[..., 1, 1] - sine_x * rotation[..., 1, 2]
    z = xp.arctan2(sine_z, cosine_z)
    if rotation.dtype == xp.float64:
        # Read directly, z has rounding errors divided by the cosine of y. Double precision can afford that
        # far from gimbal lock, and the demo world's recordings depend on the bits of this form.
        direct = xp.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])
        z = xp.where(cosine_y > WELL_DETERMINED, direct, z)
    return xp.stack([x, y, z], -1)


def _library_of(array: Array) -> ModuleType:
    """torch or numpy, which call these functions by the same names."""
    return torch if isinstance(array, Tensor) else np

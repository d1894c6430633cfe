"""Rotations in numpy. Euler angles are extrinsic xyz in radians, `R = Rz @ Ry @ Rx`, as in DROID's states."""

import numpy as np
from numpy import ndarray


def euler_to_matrix(euler: ndarray) -> ndarray:
    """Extrinsic xyz angles (3,) in radians -> rotation matrix (3, 3)."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(euler), np.sin(euler)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def matrix_to_euler(rotation: ndarray) -> ndarray:
    """Rotation matrix (3, 3) -> extrinsic xyz angles (3,) in radians, the middle one within +-pi/2."""
    return np.array(
        [
            np.arctan2(rotation[2, 1], rotation[2, 2]),
            np.arctan2(-rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2])),
            np.arctan2(rotation[1, 0], rotation[0, 0]),
        ]
    )


def rotvec_to_matrix(vector: ndarray) -> ndarray:
    """Axis times angle (3,) in radians -> rotation matrix (3, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def matrix_to_rotvec(rotation: ndarray) -> ndarray:
    """Rotation matrix (3, 3) -> axis times angle (3,) in radians; for angles below pi."""
    sine_axis = 0.5 * np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine = np.linalg.norm(sine_axis)
    cosine = 0.5 * (rotation[0, 0] + rotation[1, 1] + rotation[2, 2] - 1)
    return sine_axis if sine < 1e-9 else sine_axis * (np.arctan2(sine, cosine) / sine)


def smoothstep(x: float) -> float:
    """0 at x <= 0, 1 at x >= 1, level at both ends, and point-symmetric about (1/2, 1/2)."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)

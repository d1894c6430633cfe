"""Rotations as axis times angle, and the progress of a movement. Euler angles are in `vjepa.robots.euler`."""

import numpy as np
from numpy import ndarray


def rotvec_to_matrix(vector: ndarray) -> ndarray:
    """Axis times angle (3,) in radians -> rotation matrix (3, 3), by Rodrigues' formula."""
    angle = np.linalg.norm(vector)
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])  # cross @ v is the cross product of the axis and v
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def matrix_to_rotvec(rotation: ndarray) -> ndarray:
    """Rotation matrix (3, 3) -> axis times angle (3,) in radians; for angles below pi."""
    # The antisymmetric part is the axis times the sine of the angle, the trace is 1 + 2 times its cosine.
    sine_axis = 0.5 * np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    sine = np.linalg.norm(sine_axis)
    cosine = 0.5 * (rotation[0, 0] + rotation[1, 1] + rotation[2, 2] - 1)
    if sine < 1e-9:  # the angle and its sine are the same, and the quotient would be 0 / 0
        return sine_axis
    # The arc tangent is exact for small angles, where the arc cosine of the trace would lose digits.
    return sine_axis * (np.arctan2(sine, cosine) / sine)


def smoothstep(x: float) -> float:
    """0 at x <= 0, 1 at x >= 1, slope zero at both ends, and point-symmetric about (1/2, 1/2)."""
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)

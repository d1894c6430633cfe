"""Rays through the pixels of a camera, and what they meet in the simulator."""

from typing import NamedTuple

import mujoco
import numpy as np
from einops import rearrange
from numpy import ndarray

from vjepa.sim.world.looks import Camera

FAR = 1e6
"""Distance in metres of a ray that meets nothing, and how far rays are followed."""


class Hits(NamedTuple):
    """What n rays met: geom ids (n,), -1 for none; distances (n,), points, outward normals (n, 3); metres."""

    geom: ndarray
    distance: ndarray
    point: ndarray
    normal: ndarray

    def select(self, rows: ndarray) -> "Hits":
        return Hits(*(values[rows] for values in self))


def multi_ray(
    model: mujoco.MjModel, data: mujoco.MjData, origin: ndarray, rays: ndarray, groups: ndarray
) -> tuple[ndarray, ndarray, ndarray]:
    """First hits of rays (n, 3) from `origin` (3,) with geoms of the groups that have a flag.

    Returns geom ids (n,), -1 for none; distances (n,) in ray lengths; normals (n, 3).
    """
    count = len(rays)
    geom = np.full(count, -1, np.int32)
    distance = np.full(count, -1.0)
    normal = np.zeros(3 * count)
    if count > 0:
        # 1: geoms of bodies that cannot move count too. -1: no body is left out.
        mujoco.mj_multiRay(
            model, data, origin, rays.reshape(-1), groups, 1, -1, geom, distance, normal, count, FAR
        )
    return geom, distance, normal.reshape(-1, 3)


def pixel_rays(camera: Camera, size: int, per_side: int) -> ndarray:
    """Unit directions (h, w, per_side^2, 3) through `per_side x per_side` points of each pixel."""
    # The points are the pixel centres of an image that has `per_side` times as many pixels along each side.
    inverse = np.linalg.inv(camera.intrinsics(size * per_side))
    column, row = np.meshgrid(np.arange(size * per_side) + 0.5, np.arange(size * per_side) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], -1) @ inverse.T @ camera.rotation.T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    parts = rearrange(rays, "(h i) (w j) xyz -> h w (i j) xyz", i=per_side, j=per_side)
    return np.ascontiguousarray(parts)

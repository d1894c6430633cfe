"""Pictures from rays: `mj_multiRay` says what each pixel sees, numpy colours it, a second cast from the lamp finds shadows.

What never moves is drawn once. A frame then costs the rays that pass near something that moves, from the camera and from
the lamp, and four rays for every pixel on a moving outline.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from numpy import ndarray

from vjepa.sim.world.looks import PATTERNS, Camera, Material
from vjepa.sim.world.scene import ARM, OBJECT, STATIC, Scene

FAR = 1e6
SKY = np.array([0.75, 0.82, 0.9])
STILL = np.array([group == STATIC for group in range(mujoco.mjNGROUP)], np.uint8)
MOVING = np.array([group in (ARM, OBJECT) for group in range(mujoco.mjNGROUP)], np.uint8)


class Picture(NamedTuple):
    """`rgb` (h, w, 3) uint8; `geom` (h, w) int32 ids of the model's geoms, -1 for none; `depth` (h, w) metres along z."""

    rgb: ndarray
    geom: ndarray
    depth: ndarray


class Hits(NamedTuple):
    """What n rays met: geom ids (n,), distances (n,), points (n, 3) and outward normals (n, 3); metres."""

    geom: ndarray
    distance: ndarray
    point: ndarray
    normal: ndarray

    def __getitem__(self, rows: ndarray) -> "Hits":
        return Hits(self.geom[rows], self.distance[rows], self.point[rows], self.normal[rows])


class Textures:
    """Materials as arrays indexed by geom id; the last row is the sky, so that id -1 finds it."""

    def __init__(self, model: mujoco.MjModel, materials: dict[str, Material]):
        sky = Material(SKY, SKY, "plain", 1.0, np.zeros(3))
        rows = [*(materials[model.geom(index).name] for index in range(model.ngeom)), sky]
        self.colour = np.array([row.colour for row in rows], np.float32)
        self.second = np.array([row.second for row in rows], np.float32)
        self.phase = np.array([row.phase for row in rows], np.float32)
        self.wave = np.array([2 * np.pi * row.frequency for row in rows], np.float32)
        self.pattern = np.array([PATTERNS.index(row.pattern) for row in rows])

    def __call__(self, geom: ndarray, local: ndarray) -> ndarray:
        """Colours (n, 3) at points (n, 3) given in each geom's own frame, so that texture travels with the object."""
        x, y, z = np.sin(local * self.wave[geom, None] + self.phase[geom]).T
        pattern = self.pattern[geom]
        patterns = {
            "checker": 6 * x * y * z,
            "stripes": 3 * y,
            "noise": x * y + 0.7 * np.sin(2.3 * z + 3.1 * x),
        }
        level = np.select(
            [pattern == PATTERNS.index(name) for name in patterns], list(patterns.values()), -1.0
        )
        mix = np.clip(0.5 + 0.5 * level, 0, 1, dtype=np.float32)[:, None]
        return self.colour[geom] * (1 - mix) + self.second[geom] * mix


class Backdrop(NamedTuple):
    """The n = h * w pixels without anything that moves: geom ids and distances (n,), points and rays from the lamp (n, 3),
    and the two parts of their colour (n, 3), the one under ambient light and the one that the lamp adds."""

    geom: ndarray
    distance: ndarray
    point: ndarray
    lamp_ray: ndarray
    ambient: ndarray
    lamp: ndarray


class Renderer:
    """The scene's camera and lamp. Call it with the simulator's data to get a square `Picture` of `size` pixels.

    `data` at construction must hold the positions of the geoms in group STATIC, which are never looked at again.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, scene: Scene, size: int):
        self.model, self.camera, self.light, self.size = model, scene.camera, scene.light, size
        self.textures = Textures(model, scene.materials)
        self.origin, self.lamp = np.array(scene.camera.position), np.array(scene.light.position)
        self.rays = pixel_rays(scene.camera, size, 1).reshape(-1, 3)
        self.fine_rays = pixel_rays(scene.camera, size, 2).reshape(-1, 4, 3)
        self.slant = np.einsum("ni,i->n", self.rays, scene.camera.rotation[:, 2])
        self.moving = np.append(model.geom_group != STATIC, False)
        self.backdrop = self.draw_backdrop(data)

    def __call__(self, data: mujoco.MjData) -> Picture:
        near = np.flatnonzero(self.near_moving(data, self.origin, self.rays))
        hits = self.cast(data, self.rays[near], MOVING)
        front = hits.distance < self.backdrop.distance[near]
        hits, pixels = hits[front], near[front]
        geom, distance = self.backdrop.geom.copy(), self.backdrop.distance.copy()
        geom[pixels], distance[pixels] = hits.geom, hits.distance
        rgb = self.shade_backdrop(data)
        rgb[pixels] = self.shade(data, hits)
        self.smooth_outlines(data, geom, rgb)
        depth = distance * self.slant
        shape = (self.size, self.size)
        rgb = (255 * np.clip(rgb, 0, 1) + 0.5).astype(np.uint8)
        return Picture(rgb.reshape(*shape, 3), geom.reshape(shape), depth.reshape(shape))

    def draw_backdrop(self, data: mujoco.MjData) -> Backdrop:
        """Everything in group STATIC, four rays to the pixel."""
        fine = self.cast(data, self.fine_rays.reshape(-1, 3), STILL)
        ambient, lamp = self.paint(data, fine)
        lamp *= self.sees_lamp(data, fine.point, STILL)[:, None]
        middle = self.cast(data, self.rays, STILL)
        lamp_ray = middle.point - self.lamp
        lamp_ray /= np.linalg.norm(lamp_ray, axis=1, keepdims=True)
        means = ambient.reshape(-1, 4, 3).mean(1), lamp.reshape(-1, 4, 3).mean(1)
        return Backdrop(middle.geom, middle.distance, middle.point, lamp_ray, *means)

    def shade_backdrop(self, data: mujoco.MjData) -> ndarray:
        """The backdrop under the shadows of what moves: (n, 3)."""
        backdrop, lamp = self.backdrop, self.backdrop.lamp
        if self.light.shadows:
            near = self.near_moving(data, self.lamp, backdrop.lamp_ray) & (lamp[:, 0] > 0)
            lamp = lamp.copy()
            lamp[near] *= self.sees_lamp(data, backdrop.point[near], MOVING)[:, None]
        return backdrop.ambient + lamp

    def smooth_outlines(self, data: mujoco.MjData, geom: ndarray, rgb: ndarray) -> None:
        """Replace pixels of `rgb` (n, 3) on the outline of something that moves by the mean of four rays, in place."""
        shown = np.where(self.moving[geom], geom, -1).reshape(self.size, self.size)
        edge = outline(shown).reshape(-1)
        everything = MOVING | STILL
        fine = self.cast(data, self.fine_rays[edge].reshape(-1, 3), everything)
        rgb[edge] = self.shade(data, fine).reshape(-1, 4, 3).mean(1)

    def shade(self, data: mujoco.MjData, hits: Hits) -> ndarray:
        """Colours (n, 3) in about 0..1, shadows included."""
        ambient, lamp = self.paint(data, hits)
        if self.light.shadows:
            facing = np.flatnonzero(lamp[:, 0] > 0)
            lamp[facing] *= self.sees_lamp(data, hits.point[facing], MOVING | STILL)[:, None]
        return ambient + lamp

    def paint(self, data: mujoco.MjData, hits: Hits) -> tuple[ndarray, ndarray]:
        """Texture under ambient light (n, 3), and what the lamp adds if nothing is in its way (n, 3), by Lambert's law."""
        frame = data.geom_xmat.reshape(-1, 3, 3)[hits.geom]
        local = np.einsum("nij,ni->nj", frame, hits.point - data.geom_xpos[hits.geom]).astype(np.float32)
        to_lamp = (self.lamp - hits.point).astype(np.float32)
        cosine = np.einsum("ni,ni->n", hits.normal, to_lamp) / np.sqrt(
            np.einsum("ni,ni->n", to_lamp, to_lamp)
        )
        lambert = self.light.strength * np.clip(cosine, 0, None) * (hits.geom >= 0)
        ambient = self.light.ambient * (
            0.8 + 0.2 * hits.normal[:, 2]
        )  # the ceiling is brighter than the floor
        texture = self.textures(hits.geom, local)
        return texture * ambient[:, None], texture * lambert[:, None]

    def near_moving(self, data: mujoco.MjData, origin: ndarray, rays: ndarray) -> ndarray:
        """Which of the unit rays (n, 3) from the origin pass through the bounding sphere of a moving geom: bool (n,).

        One geom at a time: one matrix product for all would start BLAS threads, four times slower where cores are shared.
        """
        moving = self.moving[:-1]
        centre = data.geom_xpos[moving] - origin
        x, y, z = rays.T.astype(np.float32)
        near = np.zeros(len(rays), bool)
        for (cx, cy, cz), radius in zip(
            centre.tolist(), self.model.geom_rbound[moving].tolist(), strict=True
        ):
            reach = max(cx * cx + cy * cy + cz * cz - radius * radius, 0.0) ** 0.5
            near |= x * cx + y * cy + z * cz > reach
        return near

    def cast(self, data: mujoco.MjData, rays: ndarray, groups: ndarray) -> Hits:
        """Follow rays (n, 3) from the camera to the geoms of some groups."""
        geom, distance, normal = multi_ray(self.model, data, self.origin, rays, groups)
        distance[geom < 0] = FAR
        return Hits(geom, distance, self.origin + distance[:, None] * rays, normal.astype(np.float32))

    def sees_lamp(self, data: mujoco.MjData, points: ndarray, groups: ndarray) -> ndarray:
        """Whether no geom of some groups stands between the lamp and each of the points (n, 3): bool (n,)."""
        _, distance, _ = multi_ray(self.model, data, self.lamp, points - self.lamp, groups)
        return (distance < 0) | (distance > 1 - 2e-3)


def multi_ray(
    model: mujoco.MjModel, data: mujoco.MjData, origin: ndarray, rays: ndarray, groups: ndarray
) -> tuple[ndarray, ndarray, ndarray]:
    """First hits of rays (n, 3): geom ids (n,), -1 for none; distances (n,) in ray lengths; normals (n, 3)."""
    count = len(rays)
    geom, distance, normal = np.full(count, -1, np.int32), np.full(count, -1.0), np.zeros(3 * count)
    if count > 0:
        mujoco.mj_multiRay(
            model, data, origin, rays.reshape(-1), groups, 1, -1, geom, distance, normal, count, FAR
        )
    return geom, distance, normal.reshape(-1, 3)


def pixel_rays(camera: Camera, size: int, per_side: int) -> ndarray:
    """Unit directions (size, size, per_side^2, 3) through the middles of `per_side x per_side` parts of every pixel."""
    inverse = np.linalg.inv(camera.intrinsics(size * per_side))
    column, row = np.meshgrid(np.arange(size * per_side) + 0.5, np.arange(size * per_side) + 0.5)
    rays = np.stack([column, row, np.ones_like(row)], -1) @ inverse.T @ camera.rotation.T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    parts = rays.reshape(size, per_side, size, per_side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(parts.reshape(size, size, per_side**2, 3))


def outline(geom: ndarray) -> ndarray:
    """Pixels (h, w) with a neighbour above, below, left or right that shows another geom: bool (h, w)."""
    edge = np.zeros(geom.shape, bool)
    down, right = geom[1:] != geom[:-1], geom[:, 1:] != geom[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge

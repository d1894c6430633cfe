"""Images from rays: `mj_multiRay` finds what each pixel shows, numpy colours it, rays from the lamp find
shadows.

Things that never move are rendered once. Each frame then needs only the rays, from the camera and from the
lamp, that pass near something that moves, and four rays for every pixel on a moving outline.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int, Int32, UInt8
from numpy import ndarray

from vjepa.sim.world.looks import PATTERNS, Material, plain
from vjepa.sim.world.model_xml import ARM, OBJECT, STATIC
from vjepa.sim.world.rays import FAR, Hits, multi_ray, pixel_rays
from vjepa.sim.world.scene import Scene

SKY = np.array([0.75, 0.82, 0.9])
# One flag for each of MuJoCo's geom groups, as mj_multiRay takes them.
STILL = np.array([group == STATIC for group in range(mujoco.mjNGROUP)], np.uint8)
MOVING = np.array([group in (ARM, OBJECT) for group in range(mujoco.mjNGROUP)], np.uint8)


class RenderedImage(NamedTuple):
    """A square image with its segmentation and depth."""

    rgb: UInt8[ndarray, "h w 3"]
    geom: Int32[ndarray, "h w"]
    """Ids of the model's geoms that the pixels show, -1 for the sky."""
    depth: Float[ndarray, "h w"]
    """Metres along the camera's z axis."""


class Textures:
    """Materials as arrays that geom ids index. The last row is the sky, so that the id -1 finds it."""

    def __init__(self, model: mujoco.MjModel, materials: dict[str, Material]):
        sky = plain(SKY)
        rows = [*(materials[model.geom(index).name] for index in range(model.ngeom)), sky]
        self.colour = np.array([row.colour for row in rows], np.float32)
        self.second = np.array([row.second for row in rows], np.float32)
        self.phase = np.array([row.phase for row in rows], np.float32)
        self.wave = np.array([2 * np.pi * row.frequency for row in rows], np.float32)
        self.pattern = np.array([PATTERNS.index(row.pattern) for row in rows])

    def __call__(self, geom: ndarray, local: ndarray) -> ndarray:
        """Colours (n, 3) at points (n, 3) of the geoms with ids (n,).

        Points are in each geom's own frame, so the texture moves with the object.
        """
        x, y, z = np.sin(local * self.wave[geom, None] + self.phase[geom]).T
        # Levels beyond -1 and 1 are clipped below, so the large factors give sharp edges.
        levels = {
            "checker": 6 * x * y * z,
            "stripes": 3 * y,
            "noise": x * y + 0.7 * np.sin(2.3 * z + 3.1 * x),
        }
        pattern = self.pattern[geom]
        has_pattern = [pattern == PATTERNS.index(name) for name in levels]
        level = np.select(has_pattern, list(levels.values()), -1.0)  # plain: the first colour alone
        mix = np.clip(0.5 + 0.5 * level, 0, 1, dtype=np.float32)[:, None]
        return self.colour[geom] * (1 - mix) + self.second[geom] * mix


class Backdrop(NamedTuple):
    """The n = h * w pixels without anything that moves.

    The lamp's part is kept apart from the ambient part, because moving shadows remove only the former.
    """

    geom: ndarray
    """Geom ids (n,)."""
    distance: ndarray
    """Metres from the camera (n,), along the rays."""
    point: ndarray
    """Points that the pixels show (n, 3), metres."""
    lamp_ray: ndarray
    """Unit directions from the lamp to the points (n, 3)."""
    ambient: ndarray
    """Colours under ambient light (n, 3)."""
    lamp: ndarray
    """What the lamp adds to them (n, 3)."""


class Renderer:
    """The scene's camera and lamp. Call it with the simulator's data to get a square image of `size` pixels.

    At construction `data` must hold the positions of the geoms in group STATIC. They are read only then.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, scene: Scene, size: int):
        self.model = model
        self.light = scene.light
        self.size = size
        self.textures = Textures(model, scene.materials)
        self.origin = np.array(scene.camera.position)
        self.lamp = np.array(scene.light.position)
        self.rays = pixel_rays(scene.camera, size, 1).reshape(-1, 3)
        self.fine_rays = pixel_rays(scene.camera, size, 2).reshape(-1, 4, 3)
        # The cosine between each ray and the camera's z axis turns distances into depths.
        self.slant = np.einsum("ni,i->n", self.rays, scene.camera.rotation[:, 2])
        self.moving = np.append(model.geom_group != STATIC, False)  # by geom id; the last one is the sky
        self.backdrop = self.draw_backdrop(data)

    def __call__(self, data: mujoco.MjData) -> RenderedImage:
        # A moving geom is visible where it is nearer than the backdrop.
        near = np.flatnonzero(self.near_moving(data, self.origin, self.rays))
        hits = self.cast(data, self.rays[near], MOVING)
        in_front = hits.distance < self.backdrop.distance[near]
        hits = hits.select(in_front)
        pixels = near[in_front]

        # Copies, because every later frame starts from the same backdrop.
        geom = self.backdrop.geom.copy()
        geom[pixels] = hits.geom
        distance = self.backdrop.distance.copy()
        distance[pixels] = hits.distance
        rgb = self.shade_backdrop(data)
        rgb[pixels] = self.shade(data, hits)
        # Last, because it replaces pixels that are already coloured.
        self.smooth_outlines(data, geom, rgb)

        shape = (self.size, self.size)
        depth = distance * self.slant
        rgb = (255 * np.clip(rgb, 0, 1) + 0.5).astype(np.uint8)
        return RenderedImage(rgb.reshape(*shape, 3), geom.reshape(shape), depth.reshape(shape))

    def draw_backdrop(self, data: mujoco.MjData) -> Backdrop:
        """Render everything in group STATIC, with four rays per pixel."""
        fine = self.cast(data, self.fine_rays.reshape(-1, 3), STILL)
        ambient, lamp = self.paint(data, fine)
        lamp *= self.sees_lamp(data, fine.point, STILL)[:, None]

        # Ids and distances have no mean, so they are those of the ray through the middle of the pixel.
        middle = self.cast(data, self.rays, STILL)
        lamp_ray = middle.point - self.lamp
        lamp_ray /= np.linalg.norm(lamp_ray, axis=1, keepdims=True)
        return Backdrop(
            middle.geom,
            middle.distance,
            middle.point,
            lamp_ray,
            ambient=mean_of_four(ambient),
            lamp=mean_of_four(lamp),
        )

    def shade_backdrop(self, data: mujoco.MjData) -> ndarray:
        """The backdrop under the shadows of what moves: (n, 3)."""
        lamp = self.backdrop.lamp.copy()
        if self.light.shadows:
            # Pixels that the lamp does not reach cannot get darker.
            near = self.near_moving(data, self.lamp, self.backdrop.lamp_ray) & (lamp[:, 0] > 0)
            lamp[near] *= self.sees_lamp(data, self.backdrop.point[near], MOVING)[:, None]
        return self.backdrop.ambient + lamp

    def smooth_outlines(self, data: mujoco.MjData, geom: ndarray, rgb: ndarray) -> None:
        """Replace pixels of `rgb` (n, 3) on a moving outline by the mean of four rays, in place."""
        # Borders between still geoms count for nothing here: the backdrop has averaged them already.
        shown = np.where(self.moving[geom], geom, -1).reshape(self.size, self.size)
        edge = outline(shown).reshape(-1)
        fine = self.cast(data, self.fine_rays[edge].reshape(-1, 3), MOVING | STILL)
        rgb[edge] = mean_of_four(self.shade(data, fine))

    def shade(self, data: mujoco.MjData, hits: Hits) -> ndarray:
        """Colours (n, 3) in about 0..1, shadows included."""
        ambient, lamp = self.paint(data, hits)
        if self.light.shadows:
            # Only where a surface faces the lamp can something take light away.
            facing = np.flatnonzero(lamp[:, 0] > 0)
            lamp[facing] *= self.sees_lamp(data, hits.point[facing], MOVING | STILL)[:, None]
        return ambient + lamp

    def paint(self, data: mujoco.MjData, hits: Hits) -> tuple[ndarray, ndarray]:
        """Colours under ambient light (n, 3), and what the lamp adds if nothing is in its way (n, 3)."""
        # World coordinates to the frame of each geom, for the texture.
        frame = data.geom_xmat.reshape(-1, 3, 3)[hits.geom]
        local = np.einsum("nij,ni->nj", frame, hits.point - data.geom_xpos[hits.geom]).astype(np.float32)
        to_lamp = (self.lamp - hits.point).astype(np.float32)
        length = np.sqrt(np.einsum("ni,ni->n", to_lamp, to_lamp))
        cosine = np.einsum("ni,ni->n", hits.normal, to_lamp) / length
        # Lambert's law. The sky, whose id is -1, is not lit.
        lambert = self.light.strength * np.clip(cosine, 0, None) * (hits.geom >= 0)
        # Surfaces that face upwards get more of it, as if the ceiling were brighter than the floor.
        ambient = self.light.ambient * (0.8 + 0.2 * hits.normal[:, 2])
        texture = self.textures(hits.geom, local)
        return texture * ambient[:, None], texture * lambert[:, None]

    def near_moving(self, data: mujoco.MjData, origin: ndarray, rays: ndarray) -> ndarray:
        """Which unit rays (n, 3) pass through the bounding sphere of something that moves: bool (n,)."""
        moving = self.moving[:-1]  # without the sky
        centres = (data.geom_xpos[moving] - origin).tolist()
        radii = self.model.geom_rbound[moving].tolist()
        x, y, z = rays.T.astype(np.float32)
        near = np.zeros(len(rays), bool)
        # One geom at a time. One matrix product for all would start BLAS threads, which is four times slower
        # where cores are shared.
        for (cx, cy, cz), radius in zip(centres, radii, strict=True):
            # A ray touches the sphere if it goes at least as far towards its centre as a tangent does.
            reach = max(cx * cx + cy * cy + cz * cz - radius * radius, 0.0) ** 0.5
            near |= x * cx + y * cy + z * cz > reach
        return near

    def cast(self, data: mujoco.MjData, rays: ndarray, groups: ndarray) -> Hits:
        """Follow rays (n, 3) from the camera to the geoms of some groups."""
        geom, distance, normal = multi_ray(self.model, data, self.origin, rays, groups)
        # mj_multiRay gives -1 for no hit, which would count as nearer than everything.
        distance[geom < 0] = FAR
        return Hits(geom, distance, self.origin + distance[:, None] * rays, normal.astype(np.float32))

    def sees_lamp(self, data: mujoco.MjData, points: ndarray, groups: ndarray) -> ndarray:
        """Whether no geom of some groups stands between the lamp and each of the points (n, 3): bool (n,)."""
        _, distance, _ = multi_ray(self.model, data, self.lamp, points - self.lamp, groups)
        # Distances are in lengths of the ray. If nothing is in the way, the ray meets the point itself at
        # about 1. The tolerance keeps rounding from putting a surface into its own shadow.
        return (distance < 0) | (distance > 1 - 2e-3)


def mean_of_four(colours: ndarray) -> ndarray:
    """Colours of four rays for each of n pixels (n 4, 3) -> colours of the pixels (n, 3)."""
    return colours.reshape(-1, 4, 3).mean(1)


def outline(geom: Int[ndarray, "h w"]) -> Bool[ndarray, "h w"]:
    """Which pixels have a neighbour above, below, left or right that shows another geom."""
    # Both pixels of a differing pair are on the outline.
    edge = np.zeros(geom.shape, bool)
    down = geom[1:] != geom[:-1]
    right = geom[:, 1:] != geom[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge

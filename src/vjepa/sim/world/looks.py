"""How things look and who looks at them: materials, the lamp and the camera, all drawn from a generator."""

import colorsys
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.errors import require
from vjepa.robots.euler import matrix_to_euler
from vjepa.sim.world import panda

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.16, 0.14),
    "orange": (0.95, 0.52, 0.10),
    "yellow": (0.95, 0.84, 0.18),
    "green": (0.20, 0.65, 0.25),
    "cyan": (0.20, 0.72, 0.78),
    "blue": (0.16, 0.32, 0.82),
    "purple": (0.52, 0.24, 0.70),
    "pink": (0.95, 0.48, 0.66),
}
PATTERNS = ("plain", "checker", "stripes", "noise")


class Material(NamedTuple):
    """Two colours and the pattern that mixes them."""

    colour: ndarray
    """The first colour (3,), red, green and blue in 0..1."""
    second: ndarray
    """The second colour (3,), likewise."""
    pattern: str
    """One of PATTERNS; "plain" shows the first colour alone."""
    frequency: float
    """Waves per metre."""
    phase: ndarray
    """Of the waves along the three axes (3,), radians."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at `position` that looks at `target`, both (x, y, z) in metres."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float
    """Vertical field of view in degrees."""

    @property
    def rotation(self) -> ndarray:
        """Camera axes as columns (3, 3) in the OpenCV convention: x right, y down, z into the image."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        # The image's x axis is level. The formula fails only for a camera that looks straight up or down.
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward], axis=1)

    @property
    def extrinsics(self) -> ndarray:
        """Pose of the camera in the robot's frame (6,): xyz in metres, extrinsic xyz angles in radians."""
        return np.concatenate([self.position, matrix_to_euler(self.rotation)])

    def intrinsics(self, size: int) -> ndarray:
        """Matrix (3, 3) from camera coordinates to pixels; pixel centres are at half integers."""
        focal = 0.5 * size / np.tan(np.radians(self.fovy) / 2)
        return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])


@dataclass(frozen=True)
class Viewpoints:
    """Where a camera may stand: a part of a dome in front of the robot."""

    azimuth: float = 35.0
    """Largest angle between the camera and straight ahead of the robot, to either side, in degrees."""
    height: tuple[float, float] = (24.0, 45.0)
    """Smallest and largest angle of the camera above the table, in degrees."""
    distance: tuple[float, float] = (0.95, 1.1)
    """Smallest and largest distance in metres from the point that the camera looks at."""
    target: tuple[float, float, float] = (0.42, 0.0, 0.17)
    """Point (x, y, z) that the camera looks at, in metres: the middle of the workspace."""
    jitter: float = 0.03
    """Largest random offset of that point along each axis, in metres."""
    fovy: tuple[float, float] = (42.0, 48.0)
    """Narrowest and widest vertical field of view in degrees."""

    def __post_init__(self) -> None:
        require(0 <= self.azimuth <= 180, f"camera.azimuth={self.azimuth}: expected 0 to 180 degrees")
        # A camera that looks straight down has no upright image.
        for name, least, most in (("height", 0, 89), ("distance", 0.1, 10), ("fovy", 1, 170)):
            low, high = getattr(self, name)
            expected = f"expected two numbers from {least} to {most}, the smaller first"
            require(least <= low <= high <= most, f"camera.{name}={low, high}: {expected}")
        require(0 <= self.jitter <= 1, f"camera.jitter={self.jitter}: expected 0 to 1 m")


TRIPOD = Viewpoints(
    azimuth=10.0,
    height=(30.0, 38.0),
    distance=(1.0, 1.05),
    target=(0.42, 0.0, 0.22),
    jitter=0.01,
    fovy=(45.0, 45.0),
)
"""A camera on a tripod that is moved a little between episodes. It shows the whole reach of the hand."""
AROUND = replace(TRIPOD, azimuth=40.0)
"""The same camera, moved around the robot, so that a reader of the hand may be in front or at its side."""


@dataclass(frozen=True)
class Light:
    """A lamp, and the light that comes from everywhere."""

    position: tuple[float, float, float]
    """Of the lamp (x, y, z), metres."""
    strength: float
    """Brightness of a surface that faces the lamp, without the ambient part; 1 shows its full colour."""
    ambient: float
    """Brightness that surfaces have without the lamp."""
    shadows: bool = True
    """Whether things that move cast shadows."""


def draw_materials(random: Generator, objects: dict[str, str]) -> dict[str, Material]:
    """A material for every geom of the model, by name. `objects` maps names of things to names of colours."""
    white = plain(soft_colour(random, 0.05, (0.8, 0.95)))
    grey = plain(soft_colour(random, 0.1, (0.25, 0.5)))
    materials = {name: white for name in panda.BODY_GEOMS}
    materials |= {name: grey for name in (*panda.JOINT_GEOMS, *panda.FINGER_GEOMS)}
    materials["hand"] = plain(soft_colour(random, 0.15, (0.7, 0.95)))
    materials["mount"] = plain(hue(random, 0.8, 0.7))

    # Waves per metre: the smaller a thing, the finer its pattern, so that some of it fits on the thing.
    for name in ("floor", "wall"):
        materials[name] = draw_texture(random, soft_colour(random, 0.35, (0.35, 0.8)), 1.0)
    materials["table"] = draw_texture(random, soft_colour(random, 0.4, (0.45, 0.9)), 4.0)
    tray = plain(soft_colour(random, 0.5, (0.3, 0.8)))
    materials |= {f"tray{index}": tray for index in range(5)}  # the floor and the four sides
    # Drawn even in a scene without an occluder, so that the materials below do not depend on it.
    materials["occluder"] = draw_texture(random, soft_colour(random, 0.5, (0.4, 0.8)), 8.0)
    for name, colour in objects.items():
        materials[name] = draw_texture(random, np.array(COLOURS[colour]), 16.0)
    return materials


def plain(colour: ndarray) -> Material:
    """The colour (3,) without a pattern."""
    return Material(colour, colour, "plain", 1.0, np.zeros(3))


def draw_texture(random: Generator, colour: ndarray, frequency: float) -> Material:
    """The colour with a lighter or darker shade of itself in a random pattern."""
    darker = random.random() < 0.6
    # A mean with white makes a lighter shade.
    second = colour * random.uniform(0.55, 0.8) if darker else 0.6 * colour + 0.4
    return Material(
        colour=colour,
        second=np.clip(second, 0, 1),
        pattern=str(random.choice(PATTERNS)),
        frequency=frequency * random.uniform(0.7, 1.4),
        phase=random.uniform(0, 2 * np.pi, 3),
    )


def soft_colour(random: Generator, saturation: float, brightness: tuple[float, float]) -> ndarray:
    """A colour (3,) of any hue, with at most this saturation and a brightness in this range, all in 0..1."""
    return hue(random, random.uniform(0, saturation), random.uniform(*brightness))


def hue(random: Generator, saturation: float, brightness: float) -> ndarray:
    """A colour (3,) of any hue, with this saturation and brightness in 0..1."""
    return np.array(colorsys.hsv_to_rgb(random.random(), saturation, brightness))


def draw_camera(random: Generator, views: Viewpoints) -> Camera:
    """A camera on a dome in front of the robot, looking at the middle of the workspace."""
    azimuth = np.radians(random.uniform(-views.azimuth, views.azimuth))
    height = np.radians(random.uniform(*views.height))
    target = np.array(views.target) + random.uniform(-views.jitter, views.jitter, 3)
    position = target + random.uniform(*views.distance) * direction(azimuth, height)
    fovy = float(random.uniform(*views.fovy))
    return Camera(tuple(position.tolist()), tuple(target.tolist()), fovy)


def draw_light(random: Generator) -> Light:
    """A random lamp above the camera's half of the room, so that the visible sides are mostly lit."""
    azimuth = random.uniform(-1.4, 1.4)
    height = random.uniform(0.85, 1.35)
    position = np.array([0.4, 0.0, 0.0]) + random.uniform(2.0, 3.0) * direction(azimuth, height)
    strength = float(random.uniform(0.5, 0.75))
    ambient = float(random.uniform(0.42, 0.58))
    return Light(tuple(position.tolist()), strength, ambient)


def direction(azimuth: float, height: float) -> ndarray:
    """Unit vector (3,) at these angles, in radians, from straight ahead of the robot and above the table."""
    return np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])

"""What stands where and how it looks, all drawn from a generator: objects, textures, light and camera.

The robot stands at the origin and looks along +x at the camera; +y is the robot's left and the picture's right; the table
top is at z = 0. Left and right always mean the picture's.
"""

import colorsys
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.data.demo_world import panda
from vjepa.data.demo_world.poses import euler_to_matrix, matrix_to_euler

COLOURS = {
    "red": (0.85, 0.16, 0.14),
    "orange": (0.95, 0.52, 0.10),
    "yellow": (0.95, 0.84, 0.18),
    "green": (0.20, 0.65, 0.25),
    "cyan": (0.20, 0.72, 0.78),
    "blue": (0.16, 0.32, 0.82),
    "purple": (0.52, 0.24, 0.70),
    "pink": (0.95, 0.48, 0.66),
}
SHAPES = ("cube", "box", "cylinder", "ball")
PATTERNS = ("plain", "checker", "stripes", "noise")
STATIC, ARM, OBJECT = 0, 1, 2
"""Geom groups: what never moves, the arm, the objects."""


@dataclass(frozen=True)
class Thing:
    """An object. `size` is its half extents (3,) in metres, `place` the (x, y, z) of its centre, `yaw` in radians."""

    name: str
    shape: str
    colour: str
    size: tuple[float, float, float]
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0

    @property
    def label(self) -> dict[str, str]:
        """What the event log says about it."""
        return {"name": self.name, "shape": self.shape, "colour": self.colour}


class Material(NamedTuple):
    """Two colours (3,) in 0..1, the pattern that mixes them, its waves per metre and its phase (3,) in radians."""

    colour: ndarray
    second: ndarray
    pattern: str
    frequency: float
    phase: ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera. `position` and `target` are (x, y, z) in metres, `fovy` the vertical field of view in degrees."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float

    @property
    def rotation(self) -> ndarray:
        """Camera axes as columns (3, 3) in the OpenCV convention: x right, y down, z into the picture."""
        forward = np.subtract(self.target, self.position)
        forward = forward / np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(forward, right), forward], axis=1)

    @property
    def extrinsics(self) -> ndarray:
        """Pose of the camera in the robot's frame (6,): xyz in metres, extrinsic xyz angles in radians."""
        return np.concatenate([self.position, matrix_to_euler(self.rotation)])

    def intrinsics(self, size: int) -> ndarray:
        """Matrix (3, 3) from camera coordinates to pixels of a square picture; pixel centres are at half integers."""
        focal = 0.5 * size / np.tan(np.radians(self.fovy) / 2)
        return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])


@dataclass(frozen=True)
class Light:
    """A lamp at `position` (x, y, z) in metres; `strength` and `ambient` scale the lit and the unlit part."""

    position: tuple[float, float, float]
    strength: float
    ambient: float
    shadows: bool = True


@dataclass(frozen=True)
class Scene:
    """Everything the simulator and the renderer need to know. Tray and occluder are centres (x, y), or None if absent."""

    xml: str
    things: tuple[Thing, ...]
    materials: dict[str, Material]
    camera: Camera
    light: Light
    tray: tuple[float, float] | None = None
    occluder: tuple[float, float] | None = None


@dataclass(frozen=True)
class SceneConfig:
    """What a scene may contain."""

    objects: tuple[int, int] = (2, 5)
    """Fewest and most objects on the table."""
    tray: float = 1.0
    """Probability of a tray."""
    occluder: float = 0.5
    """Probability of the small wall that things can hide behind."""
    azimuth: float = 35.0
    """The camera stands within so many degrees of straight ahead of the robot."""
    fovy: tuple[float, float] = (42.0, 48.0)
    """Narrowest and widest vertical field of view in degrees."""
    movable: bool = True
    """Whether objects on the table obey physics; fixed ones are faster when nothing touches them."""


TRAY_SIZE = (0.09, 0.11, 0.04)
"""Half length, half width and height of the tray in metres."""
WALL_SIZE = (0.008, 0.1, 0.17)
"""Half thickness, half width and height of the occluder in metres."""


@dataclass
class Layout:
    """Discs on the table that are taken already: centres (n, 2) and radii (n,), both in metres."""

    centres: list[tuple[float, float]] = field(default_factory=list)
    radii: list[float] = field(default_factory=list)

    def take(self, centre: tuple[float, float], radius: float) -> None:
        self.centres.append(centre)
        self.radii.append(radius)

    def find(self, random: Generator, radius: float) -> tuple[float, float] | None:
        """A free place within the arm's comfortable reach, or None after 50 tries."""
        for _ in range(50):
            x, y = random.uniform((0.36, -0.28), (0.66, 0.28)).tolist()
            gaps = [np.hypot(x - cx, y - cy) - r for (cx, cy), r in zip(self.centres, self.radii, strict=True)]
            if min(gaps, default=1.0) > radius:
                return x, y
        return None


def draw_scene(random: Generator, config: SceneConfig, held: Thing | None = None, keep_free: Layout | None = None) -> Scene:
    """One random scene; `held` is a further object for the hand, `keep_free` says where nothing may stand."""
    layout = keep_free or Layout()
    tray, occluder = draw_furniture(random, config, layout)
    things = draw_things(random, int(random.integers(config.objects[0], config.objects[1] + 1)), layout)
    materials = draw_materials(random, things if held is None else (*things, held))
    bodies = [furniture_xml(tray, occluder), *(thing_xml(thing, config.movable) for thing in things)]
    if held is not None:
        bodies.append(thing_xml(held, True))
        things = (held, *things)
    camera, light = draw_camera(random, config.azimuth, config.fovy), draw_light(random)
    return Scene(world_xml("".join(bodies)), things, materials, camera, light, tray, occluder)


def draw_furniture(random: Generator, config: SceneConfig, layout: Layout):
    """Where tray and occluder stand, on opposite sides of the table: two centres (x, y), None where absent."""
    side = random.choice([-1.0, 1.0])
    tray = (random.uniform(0.42, 0.52), side * random.uniform(0.26, 0.32)) if random.random() < config.tray else None
    wall = (random.uniform(0.6, 0.64), -side * random.uniform(0.12, 0.2)) if random.random() < config.occluder else None
    if tray is not None:
        layout.take(tray, 0.14)
    if wall is not None:
        layout.take((wall[0] - 0.05, wall[1]), 0.13)  # the wall and the place behind it
    return tray, wall


def draw_things(random: Generator, count: int, layout: Layout) -> tuple[Thing, ...]:
    """Up to `count` objects of different colours at free places on the table."""
    colours = random.permutation(list(COLOURS))
    things = []
    for index in range(count):
        thing = draw_thing(random, f"object{index}", str(colours[index]))
        radius = float(np.hypot(thing.size[0], thing.size[1]))
        place = layout.find(random, radius + 0.04)
        if place is None:
            continue
        layout.take(place, radius)
        things.append(moved_to(thing, np.array([*place, thing.size[2]]), random.uniform(-0.6, 0.6)))
    return tuple(things)


def draw_thing(random: Generator, name: str, colour: str) -> Thing:
    """An object that fits between the fingers: at most 7.2 cm wide along its y axis."""
    shape = str(random.choice(SHAPES))
    width = float(random.uniform(0.022, 0.036))
    long, tall = width * random.uniform(1.2, 1.7), width * random.uniform(1.0, 1.4)
    sizes = {"cube": (width, width, width), "box": (long, width, tall), "cylinder": (width, width, tall)}
    x, y, z = (float(half) for half in sizes.get(shape, (width, width, width)))
    return Thing(name, shape, colour, (x, y, z))


def moved_to(thing: Thing, place: ndarray, yaw: float) -> Thing:
    """The object with its centre at `place` (3,) metres, turned by `yaw` radians."""
    return replace(thing, place=tuple(place.tolist()), yaw=float(yaw))


def thing_xml(thing: Thing, movable: bool) -> str:
    """The object as a MuJoCo body: 300 kg per cubic metre, like soft wood."""
    x, y, z = thing.size
    kind, size = {
        "cube": ("box", f"{x} {y} {z}"),
        "box": ("box", f"{x} {y} {z}"),
        "cylinder": ("cylinder", f"{x} {z}"),
        "ball": ("sphere", f"{x}"),
    }[thing.shape]
    joint = f'<freejoint name="{thing.name}"/>' if movable else ""
    px, py, pz = thing.place
    group = OBJECT if movable else STATIC
    return (
        f'<body name="{thing.name}" pos="{px} {py} {pz}" euler="0 0 {thing.yaw}">{joint}'
        f'<geom name="{thing.name}" type="{kind}" size="{size}" density="300" group="{group}" condim="6"'
        ' friction="1 0.02 0.002"/></body>'
    )


def furniture_xml(tray: tuple[float, float] | None, occluder: tuple[float, float] | None) -> str:
    """Tray (a floor and four sides) and occluder as bodies that never move."""
    parts = []
    if tray is not None:
        (x, y), (a, b, h) = tray, TRAY_SIZE
        sides = [(0, 0, a, b, 0.004), (a, 0, 0.005, b, h / 2), (-a, 0, 0.005, b, h / 2), (0, b, a, 0.005, h / 2)]
        for index, (dx, dy, sx, sy, sz) in enumerate([*sides, (0, -b, a, 0.005, h / 2)]):
            parts.append(f'<geom name="tray{index}" type="box" pos="{x + dx} {y + dy} {sz}" size="{sx} {sy} {sz}"/>')
    if occluder is not None:
        (x, y), (a, b, h) = occluder, WALL_SIZE
        parts.append(f'<geom name="occluder" type="box" pos="{x} {y} {h / 2}" size="{a} {b} {h / 2}"/>')
    return "".join(parts)


def world_xml(bodies: str) -> str:
    """The whole model: options, room, table, arm, and the given bodies.

    The integrator is Euler's: implicit ones change velocities after the contact solver has seen them, and with actuators
    as stiff as these a held object creeps out of the hand, by centimetres a second.
    """
    return f"""
<mujoco model="demo_world">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="0.002" integrator="Euler" cone="elliptic" impratio="10"/>
  <default>{panda.DEFAULTS}</default>
  <worldbody>
    <geom name="floor" type="plane" pos="0 0 -0.7" size="5 5 0.1"/>
    <geom name="wall" type="plane" pos="-1.2 0 0" size="5 5 0.1" euler="0 1.5707963 0"/>
    <geom name="table" type="box" pos="0.3 0 -0.03" size="0.6 0.75 0.03"/>
    {panda.BODIES}
    {bodies}
  </worldbody>
  {panda.TIES}
  {panda.ACTUATORS}
</mujoco>"""


def draw_materials(random: Generator, things: tuple[Thing, ...]) -> dict[str, Material]:
    """A material for every geom of the model, by name."""
    white, grey = soft_colour(random, 0.05, (0.8, 0.95)), soft_colour(random, 0.1, (0.25, 0.5))
    looks = {name: plain(white) for name in panda.BODY_GEOMS}
    looks |= {name: plain(grey) for name in (*panda.JOINT_GEOMS, *panda.FINGER_GEOMS)}
    looks |= {"hand": plain(soft_colour(random, 0.15, (0.7, 0.95))), "mount": plain(hue(random, 0.8, 0.7))}
    looks |= {name: draw_texture(random, soft_colour(random, 0.35, (0.35, 0.8)), 1.0) for name in ("floor", "wall")}
    looks["table"] = draw_texture(random, soft_colour(random, 0.4, (0.45, 0.9)), 4.0)
    tray = plain(soft_colour(random, 0.5, (0.3, 0.8)))
    looks |= {f"tray{index}": tray for index in range(5)}
    looks["occluder"] = draw_texture(random, soft_colour(random, 0.5, (0.4, 0.8)), 8.0)
    looks |= {thing.name: draw_texture(random, np.array(COLOURS[thing.colour]), 16.0) for thing in things}
    return looks


def plain(colour: ndarray) -> Material:
    return Material(colour, colour, "plain", 1.0, np.zeros(3))


def draw_texture(random: Generator, colour: ndarray, frequency: float) -> Material:
    """The colour with a lighter or darker shade of itself in a random pattern."""
    second = np.clip(colour * random.uniform(0.55, 0.8) if random.random() < 0.6 else 0.6 * colour + 0.4, 0, 1)
    pattern = str(random.choice(PATTERNS))
    return Material(colour, second, pattern, frequency * random.uniform(0.7, 1.4), random.uniform(0, 2 * np.pi, 3))


def soft_colour(random: Generator, saturation: float, brightness: tuple[float, float]) -> ndarray:
    return hue(random, random.uniform(0, saturation), random.uniform(*brightness))


def hue(random: Generator, saturation: float, brightness: float) -> ndarray:
    return np.array(colorsys.hsv_to_rgb(random.random(), saturation, brightness))


def draw_camera(random: Generator, azimuth: float, fovy: tuple[float, float]) -> Camera:
    """A camera on a dome in front of the robot, looking at the middle of the workspace."""
    angle, height = np.radians(random.uniform(-azimuth, azimuth)), np.radians(random.uniform(24, 45))
    target = np.array([0.42, 0.0, 0.17]) + random.uniform(-0.03, 0.03, 3)
    direction = np.array([np.cos(height) * np.cos(angle), np.cos(height) * np.sin(angle), np.sin(height)])
    position = target + random.uniform(0.95, 1.1) * direction
    return Camera(tuple(position.tolist()), tuple(target.tolist()), float(random.uniform(*fovy)))


def draw_light(random: Generator) -> Light:
    """A lamp above the camera's half of the room, so that the visible sides are mostly lit."""
    angle, height = random.uniform(-1.4, 1.4), random.uniform(0.85, 1.35)
    direction = np.array([np.cos(height) * np.cos(angle), np.cos(height) * np.sin(angle), np.sin(height)])
    position = np.array([0.4, 0.0, 0.0]) + random.uniform(2.0, 3.0) * direction
    return Light(tuple(position.tolist()), float(random.uniform(0.5, 0.75)), float(random.uniform(0.42, 0.58)))


def hand_rotation(yaw: float) -> ndarray:
    """The hand pointing straight down and turned about the vertical by `yaw` radians from its home: (3, 3)."""
    return euler_to_matrix(np.array([np.pi, 0.0, yaw]))

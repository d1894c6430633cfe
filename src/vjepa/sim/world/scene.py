"""What stands where, drawn from a generator: objects, tray, occluder; and the whole scene as one value.

The robot stands at the origin and looks along +x at the camera; +y is the robot's left and the picture's right; the table
top is at z = 0. Left and right always mean the picture's.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.sim.world import panda
from vjepa.sim.world.looks import (
    COLOURS,
    Camera,
    Light,
    Material,
    Viewpoints,
    draw_camera,
    draw_light,
    draw_materials,
)
from vjepa.sim.world.poses import euler_to_matrix

SHAPES = ("cube", "box", "cylinder", "ball")
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
    camera: Viewpoints = field(default_factory=Viewpoints)
    """Where the camera may stand."""
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
            gaps = [
                np.hypot(x - cx, y - cy) - r for (cx, cy), r in zip(self.centres, self.radii, strict=True)
            ]
            if min(gaps, default=1.0) > radius:
                return x, y
        return None


def draw_scene(
    random: Generator, config: SceneConfig, held: Thing | None = None, keep_free: Layout | None = None
) -> Scene:
    """One random scene; `held` is a further object for the hand, `keep_free` says where nothing may stand."""
    layout = keep_free or Layout()
    tray, occluder = draw_furniture(random, config, layout)
    things = draw_things(random, int(random.integers(config.objects[0], config.objects[1] + 1)), layout)
    objects = things if held is None else (held, *things)
    materials = draw_materials(random, {thing.name: thing.colour for thing in objects})
    bodies = [furniture_xml(tray, occluder), *(thing_xml(thing, config.movable) for thing in things)]
    if held is not None:
        bodies.append(thing_xml(held, True))
    camera, light = draw_camera(random, config.camera), draw_light(random)
    return Scene(world_xml("".join(bodies)), objects, materials, camera, light, tray, occluder)


def draw_furniture(random: Generator, config: SceneConfig, layout: Layout):
    """Where tray and occluder stand, on opposite sides of the table: two centres (x, y), None where absent."""
    side = random.choice([-1.0, 1.0])
    tray = (
        (random.uniform(0.42, 0.52), side * random.uniform(0.26, 0.32))
        if random.random() < config.tray
        else None
    )
    wall = (
        (random.uniform(0.6, 0.64), -side * random.uniform(0.12, 0.2))
        if random.random() < config.occluder
        else None
    )
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
        sides = [
            (0, 0, a, b, 0.004),
            (a, 0, 0.005, b, h / 2),
            (-a, 0, 0.005, b, h / 2),
            (0, b, a, 0.005, h / 2),
        ]
        for index, (dx, dy, sx, sy, sz) in enumerate([*sides, (0, -b, a, 0.005, h / 2)]):
            parts.append(
                f'<geom name="tray{index}" type="box" pos="{x + dx} {y + dy} {sz}" size="{sx} {sy} {sz}"/>'
            )
    if occluder is not None:
        (x, y), (a, b, h) = occluder, WALL_SIZE
        parts.append(f'<geom name="occluder" type="box" pos="{x} {y} {h / 2}" size="{a} {b} {h / 2}"/>')
    return "".join(parts)


def world_xml(bodies: str) -> str:
    """The whole model: options, room, table, arm, and the given bodies.

    The integrator is Euler's: implicit ones change velocities after the contact solver has seen them, and with actuators
    as stiff as these a held object creeps out of the hand, several times as fast.
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


def hand_rotation(yaw: float) -> ndarray:
    """The hand pointing straight down and turned about the vertical by `yaw` radians from its home: (3, 3)."""
    return euler_to_matrix(np.array([np.pi, 0.0, yaw]))

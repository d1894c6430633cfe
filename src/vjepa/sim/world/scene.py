"""What stands where, drawn from a generator: objects, tray, occluder; and the whole scene as one value.

The robot stands at the origin and looks along +x at the camera. The robot's left is +y, which is the image's
right. The table top is at z = 0. Left and right always mean the image's.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy import ndarray
from numpy.random import Generator

from vjepa.errors import require
from vjepa.robots.euler import euler_to_matrix
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
from vjepa.sim.world.model_xml import furniture_xml, thing_xml, world_xml
from vjepa.sim.world.things import Thing, draw_thing, moved_to


@dataclass(frozen=True)
class Scene:
    """Everything that the simulator and the renderer need to know."""

    xml: str
    things: tuple[Thing, ...]
    materials: dict[str, Material]
    camera: Camera
    light: Light
    tray: tuple[float, float] | None = None
    """Centre (x, y) of the tray in metres, or None if there is none."""
    occluder: tuple[float, float] | None = None
    """Centre (x, y) of the occluder in metres, or None if there is none."""


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

    def __post_init__(self) -> None:
        fewest, most = self.objects
        require(0 <= fewest <= most, f"scene.objects={self.objects} are the fewest and the most, 0 or more")
        shares = 0 <= self.tray <= 1 and 0 <= self.occluder <= 1
        sentence = f"scene.tray={self.tray} and scene.occluder={self.occluder} are probabilities"
        require(shares, f"{sentence}: expected 0 to 1")


@dataclass
class Layout:
    """Discs on the table that are taken already: centres (n, 2) and radii (n,), both in metres."""

    centres: list[tuple[float, float]] = field(default_factory=list)
    radii: list[float] = field(default_factory=list)

    def take(self, centre: tuple[float, float], radius: float) -> None:
        self.centres.append(centre)
        self.radii.append(radius)

    def find(self, random: Generator, radius: float) -> tuple[float, float] | None:
        """Centre (x, y) of a free disc within the arm's comfortable reach, metres, or None after 50 tries."""
        for _ in range(50):
            x, y = random.uniform((0.36, -0.28), (0.66, 0.28)).tolist()
            discs = zip(self.centres, self.radii, strict=True)
            gaps = [np.hypot(x - cx, y - cy) - taken for (cx, cy), taken in discs]
            if min(gaps, default=1.0) > radius:
                return x, y
        return None


def draw_scene(
    random: Generator, config: SceneConfig, held: Thing | None = None, keep_free: Layout | None = None
) -> Scene:
    """One random scene.

    `held` is a further object, for the hand. `keep_free` says where nothing may stand; it grows in place.
    """
    layout = keep_free or Layout()
    # The order of the draws decides what a seed looks like. What is drawn first takes the room of the rest.
    tray, occluder = draw_furniture(random, config, layout)
    count = int(random.integers(config.objects[0], config.objects[1] + 1))
    things = draw_things(random, count, layout)
    objects = things if held is None else (held, *things)
    materials = draw_materials(random, {thing.name: thing.colour for thing in objects})
    bodies = [furniture_xml(tray, occluder), *(thing_xml(thing, config.movable) for thing in things)]
    if held is not None:
        # What the hand holds has to move, even where the objects on the table do not.
        bodies.append(thing_xml(held, True))
    camera = draw_camera(random, config.camera)
    light = draw_light(random)
    return Scene(world_xml("".join(bodies)), objects, materials, camera, light, tray, occluder)


def draw_furniture(
    random: Generator, config: SceneConfig, layout: Layout
) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    """Centres (x, y) of tray and occluder, on opposite sides of the table; None where there is none."""
    side = random.choice([-1.0, 1.0])
    tray = None
    if random.random() < config.tray:
        tray = (random.uniform(0.42, 0.52), side * random.uniform(0.26, 0.32))
        layout.take(tray, 0.14)  # as far as its corners
    occluder = None
    if random.random() < config.occluder:
        occluder = (random.uniform(0.6, 0.64), -side * random.uniform(0.12, 0.2))
        layout.take((occluder[0] - 0.05, occluder[1]), 0.13)  # the wall and the place behind it
    return tray, occluder


def draw_things(random: Generator, count: int, layout: Layout) -> tuple[Thing, ...]:
    """Up to `count` objects of different colours at free places on the table."""
    # Different colours, so that a colour names an object. Questions and tasks rely on that.
    colours = random.permutation(list(COLOURS))
    things = []
    for index in range(count):
        thing = draw_thing(random, f"object{index}", str(colours[index]))
        radius = float(np.hypot(thing.size[0], thing.size[1]))
        place = layout.find(random, radius + 0.04)
        if place is None:
            continue  # the table is full for this one; a smaller one may still fit
        layout.take(place, radius)
        # The centre is half a height above the table top, which is at z = 0.
        things.append(moved_to(thing, np.array([*place, thing.size[2]]), random.uniform(-0.6, 0.6)))
    return tuple(things)


def hand_rotation(yaw: float) -> ndarray:
    """Rotation (3, 3) of a hand that points straight down, turned by `yaw` radians from its home."""
    return euler_to_matrix(np.array([np.pi, 0.0, yaw]))

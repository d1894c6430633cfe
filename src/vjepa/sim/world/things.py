"""Objects that fit between the fingers."""

from dataclasses import dataclass, replace

from numpy import ndarray
from numpy.random import Generator

SHAPES = ("cube", "box", "cylinder", "ball")


@dataclass(frozen=True)
class Thing:
    """An object on the table or in the hand."""

    name: str
    """Of its body and its geom in the MuJoCo model."""
    shape: str
    """One of SHAPES."""
    colour: str
    """A name in `looks.COLOURS`."""
    size: tuple[float, float, float]
    """Half extents along its own axes (x, y, z), metres."""
    place: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of its centre (x, y, z), metres."""
    yaw: float = 0.0
    """Radians."""

    @property
    def label(self) -> dict[str, str]:
        """What the event log says about it."""
        return {"name": self.name, "shape": self.shape, "colour": self.colour}


def draw_thing(random: Generator, name: str, colour: str) -> Thing:
    """An object that fits between the fingers: at most 7.2 cm wide along its y axis."""
    shape = str(random.choice(SHAPES))
    # The fingers close along y. Their opening of 8 cm leaves 4 mm on either side of the widest object.
    width = float(random.uniform(0.022, 0.036))
    length = float(width * random.uniform(1.2, 1.7))
    height = float(width * random.uniform(1.0, 1.4))
    # All numbers are drawn for all shapes, so that a shape does not change what is drawn after it.
    sizes = {
        "cube": (width, width, width),
        "box": (length, width, height),
        "cylinder": (width, width, height),
        "ball": (width, width, width),
    }
    return Thing(name, shape, colour, sizes[shape])


def moved_to(thing: Thing, place: ndarray, yaw: float) -> Thing:
    """The object with its centre at `place` (3,) metres, turned by `yaw` radians."""
    return replace(thing, place=tuple(place.tolist()), yaw=float(yaw))

"""The world as a MuJoCo model in XML: room, table, arm, furniture and objects."""

from vjepa.sim.world import panda
from vjepa.sim.world.things import Thing

# The renderer casts rays at still and at moving geoms separately, so the groups tell them apart.
STATIC = 0
"""Geom group of what never moves."""
ARM = 1
"""Geom group of the arm."""
OBJECT = 2
"""Geom group of the objects."""
TRAY_SIZE = (0.09, 0.11, 0.04)
"""Half length, half width and height of the tray in metres."""
WALL_SIZE = (0.008, 0.1, 0.17)
"""Half thickness, half width and height of the occluder in metres."""


def thing_xml(thing: Thing, movable: bool) -> str:
    """The object as a MuJoCo body of 300 kg per cubic metre, like soft wood."""
    half_x, half_y, half_z = thing.size
    kind, size = {
        "cube": ("box", f"{half_x} {half_y} {half_z}"),
        "box": ("box", f"{half_x} {half_y} {half_z}"),
        "cylinder": ("cylinder", f"{half_x} {half_z}"),
        "ball": ("sphere", f"{half_x}"),
    }[thing.shape]
    # A body without a joint is welded to the world, and the physics has nothing to integrate.
    joint = f'<freejoint name="{thing.name}"/>' if movable else ""
    x, y, z = thing.place
    group = OBJECT if movable else STATIC
    # condim 6 is friction against sliding, turning and rolling. Without the last one, balls would roll on.
    return (
        f'<body name="{thing.name}" pos="{x} {y} {z}" euler="0 0 {thing.yaw}">{joint}'
        f'<geom name="{thing.name}" type="{kind}" size="{size}" density="300" group="{group}" condim="6"'
        ' friction="1 0.02 0.002"/></body>'
    )


def furniture_xml(tray: tuple[float, float] | None, occluder: tuple[float, float] | None) -> str:
    """Tray (a floor and four sides) and occluder as bodies that never move."""
    boxes = []
    if tray is not None:
        x, y = tray
        length, width, height = TRAY_SIZE
        # box_xml takes half extents, but the height is a whole one. The floor is 8 mm thick.
        boxes += [
            box_xml("tray0", (x, y), (length, width, 0.004)),
            box_xml("tray1", (x + length, y), (0.005, width, height / 2)),
            box_xml("tray2", (x - length, y), (0.005, width, height / 2)),
            box_xml("tray3", (x, y + width), (length, 0.005, height / 2)),
            box_xml("tray4", (x, y - width), (length, 0.005, height / 2)),
        ]
    if occluder is not None:
        thickness, width, height = WALL_SIZE
        boxes.append(box_xml("occluder", occluder, (thickness, width, height / 2)))
    return "".join(boxes)


def box_xml(name: str, centre: tuple[float, float], size: tuple[float, float, float]) -> str:
    """A box of half extents `size` that stands on the table."""
    x, y = centre
    half_x, half_y, half_z = size
    return f'<geom name="{name}" type="box" pos="{x} {y} {half_z}" size="{half_x} {half_y} {half_z}"/>'


def world_xml(bodies: str) -> str:
    """The whole model: options, room, table, arm, and the given bodies.

    The integrator is Euler's. Implicit ones change velocities after the contact solver has seen them; with
    actuators as stiff as these, a held object then creeps out of the hand several times as fast.
    The elliptic cone and an impratio above 1 make friction stiffer, so that held objects slip less.
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

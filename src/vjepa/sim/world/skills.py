"""Scripted skills: generators of actions, which read the state of the world before each action.

    for action in skills.lift(world, world.thing("object0")):
        world.step(action)

`vjepa.sim.recording.director` runs skills and keeps a log.
"""

from collections.abc import Iterator

import numpy as np
from numpy import ndarray

from vjepa.errors import UserError
from vjepa.robots.euler import matrix_to_euler
from vjepa.sim.world.env import DemoWorld
from vjepa.sim.world.model_xml import WALL_SIZE
from vjepa.sim.world.panda import FINGER_GEOMS
from vjepa.sim.world.poses import matrix_to_rotvec, rotvec_to_matrix
from vjepa.sim.world.scene import hand_rotation
from vjepa.sim.world.things import Thing

Actions = Iterator[ndarray]
STRIDE = 0.06
"""Metres that an action moves the hand, at most."""
SWING = 0.4
"""Radians that an action turns the hand, at most."""
SAFE = 0.24
"""Height in metres of the fingertips at which the hand, and what it holds, passes over everything."""
REACH_BELOW_TOP = 0.035
"""Largest depth in metres of the fingertips below an object's top. Deeper, the palm would touch it."""
FORK = 0.8
"""Closedness for pushing. It leaves 16 mm between the fingers: round things do not roll off, and corners do
not get stuck."""
BEHIND = 0.05
"""Smallest distance in metres from the occluder to the middle of the object behind it."""


# -- movements of the hand -----------------------------------------------------------------------------------


def go(world: DemoWorld, position: ndarray, yaw: float | None = None) -> Actions:
    """Bring the fingertips to a position (3,) in metres, and the hand to a yaw in radians if it is given."""
    rotation = world.command.rotation if yaw is None else hand_rotation(yaw)
    for _ in range(80):  # limits at the workspace's border may keep the command from ever arriving
        way = position - world.command.position
        turn = matrix_to_rotvec(rotation @ world.command.rotation.T)
        parts = max(np.linalg.norm(way) / STRIDE, np.linalg.norm(turn) / SWING)
        if parts < 1e-3:
            return
        # The rest is divided anew before every action, because the world clips commands to its workspace.
        share = 1 / max(parts, 1.0)
        # A share of the axis times angle is the same share of the turn. Of Euler angles that is not true.
        angles = matrix_to_euler(rotvec_to_matrix(share * turn))
        yield np.concatenate([share * way, angles, [0.0]])


def rise(world: DemoWorld, height: float = SAFE) -> Actions:
    """Move the fingertips vertically to a height in metres."""
    yield from go(world, np.array([*world.command.position[:2], height]))


def squeeze(change: float) -> Actions:
    """Change closedness by `change` in two actions. The world clips it to 0 .. 1."""
    for _ in range(2):
        yield np.array([0, 0, 0, 0, 0, 0, change / 2])


def above(place: ndarray, height: float = SAFE) -> ndarray:
    """The position (3,) at a height in metres above a place (x, y)."""
    return np.array([place[0], place[1], height])


def grasp_height(world: DemoWorld, thing: Thing) -> float:
    """Height in metres at which the fingers close on an object: its middle, or higher if it is tall."""
    middle = world.position(thing)[2]
    return float(max(middle, middle + thing.size[2] - REACH_BELOW_TOP))


def grasp_yaw(world: DemoWorld, thing: Thing) -> float | None:
    """The smallest yaw of the hand (radians) at which fingers close on flat sides; None for round things."""
    # Turned by this angle, the shape offers the same width to the fingers again.
    period = {"cube": np.pi / 2, "box": np.pi}.get(thing.shape)
    if period is None:
        return None
    x_axis = world.simulation.data.body(thing.name).xmat.reshape(3, 3)[:, 0]
    yaw = np.arctan2(x_axis[1], x_axis[0])
    return float(yaw - period * np.round(yaw / period))


def held_things(world: DemoWorld) -> set[str]:
    """Names of the objects between the fingers that both of them touch."""
    model = world.simulation.model
    data = world.simulation.data
    left, right = (model.geom(name).id for name in FINGER_GEOMS)
    # MuJoCo lists the two geoms of a contact in either order.
    touched: dict[int, set[str]] = {left: set(), right: set()}
    for first, second in data.contact.geom[: data.ncon].tolist():
        for finger, touched_geom in ((first, second), (second, first)):
            if finger in touched:
                touched[finger].add(model.geom(touched_geom).name)
    # Fingers also touch objects that they push from the outside, so the object has to be between them too:
    # near the plane x = 0 of the hand's frame, in which they move.
    between = {
        thing.name for thing in world.scene.things if abs(world.simulation.in_hand(thing.name)[0]) < 0.02
    }
    return touched[left] & touched[right] & between


# -- skills --------------------------------------------------------------------------------------------------


def reach(world: DemoWorld, thing: Thing) -> Actions:
    """Bring the open hand around the object, ready to close."""
    # Up first, so that the way to the object passes over all others.
    yield from rise(world)
    yield from open_hand(world, thing)
    place = world.position(thing)
    yield from go(world, above(place), grasp_yaw(world, thing))
    yield from go(world, above(place, grasp_height(world, thing)))


def open_hand(world: DemoWorld, thing: Thing) -> Actions:
    """Open the gripper."""
    yield from squeeze(-1.0)


def close_hand(world: DemoWorld, thing: Thing) -> Actions:
    """Close the gripper, on the object if it is between the fingers."""
    yield from squeeze(1.0)


def lift(world: DemoWorld, thing: Thing) -> Actions:
    """Take the object and raise it."""
    if thing.name not in held_things(world):
        yield from reach(world, thing)
        yield from close_hand(world, thing)
    yield from rise(world)


def lower(world: DemoWorld, thing: Thing) -> Actions:
    """Bring the held object down until it stands on the table, without letting go."""
    # The table top is at z = 0. The hand stops 2 mm early, so that it does not press the object down.
    bottom = world.position(thing)[2] - thing.size[2]
    yield from rise(world, world.command.position[2] - bottom + 0.002)


def drop(world: DemoWorld, thing: Thing) -> Actions:
    """Let the object fall from the air. It is lifted first if it is not held."""
    yield from lift(world, thing)
    yield from squeeze(-1.0)


def turn(world: DemoWorld, thing: Thing) -> Actions:
    """Take the object and turn it by one radian where it stands."""
    yield from reach(world, thing)
    yield from close_hand(world, thing)
    # Across straight ahead, so that the yaw stays within one radian of it.
    yaw = matrix_to_euler(world.command.rotation)[2]
    yield from go(world, world.command.position, yaw + (1.0 if yaw < 0 else -1.0))
    yield from open_hand(world, thing)
    yield from rise(world)


def put_in_tray(world: DemoWorld, thing: Thing) -> Actions:
    """Carry the object to the tray and set it down there."""
    if world.scene.tray is None:
        raise UserError("this world has no tray: draw one with SceneConfig(tray=1.0)")
    # The top of the tray's floor is at 8 mm.
    yield from set_down(world, thing, np.array(world.scene.tray), 0.012)


def hide(world: DemoWorld, thing: Thing) -> Actions:
    """Carry the object behind the occluder, as the camera sees it, and set it down there."""
    if world.scene.occluder is None:
        raise UserError("this world has no occluder to hide behind: draw one with SceneConfig(occluder=1.0)")
    # Along the camera's line of sight through the wall. The gap is measured across the wall, along x.
    wall = np.array(world.scene.occluder)
    away = wall - np.array(world.scene.camera.position[:2])
    gap = WALL_SIZE[0] + max(BEHIND, thing.size[0] + 0.012)
    yield from set_down(world, thing, wall + gap * away / abs(away[0]), 0.004)


def set_down(world: DemoWorld, thing: Thing, place: ndarray, clearance: float) -> Actions:
    """Carry the object to a place (x, y), let go `clearance` metres above the table, and rise."""
    yield from lift(world, thing)
    # Yaw 0 aligns the hand with the tray and the occluder. The palm would touch their tops otherwise.
    yield from go(world, above(place), 0.0)
    bottom = world.position(thing)[2] - thing.size[2]
    yield from rise(world, world.command.position[2] - bottom + clearance)
    yield from open_hand(world, thing)
    yield from rise(world)


def push_left(world: DemoWorld, thing: Thing) -> Actions:
    """Push the object along the table to the left of the image."""
    yield from push(world, thing, -1.0)


def push_right(world: DemoWorld, thing: Thing) -> Actions:
    """Push the object along the table to the right of the image."""
    yield from push(world, thing, 1.0)


def push(world: DemoWorld, thing: Thing, side: float, way: float = 0.15) -> Actions:
    """Push the object `way` metres along +y (side 1) or -y (side -1), with the fingers as a fork."""
    yield from rise(world)
    yield from squeeze(FORK - world.command.closedness)
    # Down beside the object. A quarter turn sets the fingers side by side across the way of the push.
    place = world.position(thing)
    gap = max(thing.size[:2]) + 0.03
    yield from go(world, above(place - np.array([0, side * gap, 0])), np.pi / 2)
    yield from rise(world, max(0.02, place[2] - 0.01))
    yield from go(world, world.command.position + np.array([0, side * (way + 0.02), 0]))
    # Step back first, so that the hand does not take the object along upwards.
    yield from go(world, world.command.position - np.array([0, side * 0.03, 0]))
    yield from rise(world)

"""States of robots and their changes: rigid poses with Euler angles and a gripper, or plain vectors; batched torch.

    action = pose_delta(state, next_state)
    next_state = pose_apply(state, action)

A `StateSchema` says what the numbers of a state are and how an action changes it. It travels with the weights that were
trained under it, as JSON. Angles are radians, extrinsic xyz: `R = Rz @ Ry @ Rx`, as in DROID. Rotations change by
`R1 R0^T` in the robot's base frame, everything else by difference, as in the public V-JEPA 2-AC loader (`app/vjepa_droid`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError, refuse_unless

FULL_TURN = 2 * math.pi
"""Radians. Greater angles are most likely degrees."""


@dataclass(frozen=True)
class StateSchema:
    """What a state is, number by number, and what an action does to it. The default: one arm's end effector and gripper."""

    names: tuple[str, ...] = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    """Names of the state's dimensions."""
    units: tuple[str, ...] = ("m", "m", "m", "rad", "rad", "rad", "closed")
    """Unit of each dimension; data in `rad` is checked to lie within +-2 pi. `closed`: 0 open .. 1 closed."""
    position: tuple[int, ...] = (0, 1, 2)
    """Dimensions of positions, in threes (two arms have six)."""
    rotation: tuple[int, ...] = (3, 4, 5)
    """Dimensions of extrinsic xyz Euler angles, in threes, one for each three of `position`."""
    gripper: tuple[int, ...] = (6,)
    """Dimensions of grippers."""
    delta: Literal["pose", "difference", "recorded"] = "pose"
    """Actions are differences of states, with rotations as R1 R0^T (`pose`) or as all the rest (`difference`); or they are
    the data's own (`recorded`), and nobody knows what they do to a state."""
    actions: tuple[str, ...] = ()
    """Names of the action's dimensions; empty: those of the state."""
    bounds: tuple[tuple[float, float], ...] = (((-0.075, 0.075),) * 3) + (((-0.5, 0.5),) * 3) + ((-1.0, 1.0),)
    """Least and greatest action, for each dimension: what a planner may try, what data should cover."""
    centres: tuple[float, ...] = ()
    """For each angle of `rotation`, the angle that its values lie within +-pi of, radians; empty: as they come. A hand that
    points down has a roll of +pi or -pi by chance, which a network would see as a jump: 3.1416 as its centre heals that."""

    def __post_init__(self) -> None:
        self._check_dimensions()
        self._check_actions()

    def _check_dimensions(self) -> None:
        dims = (*self.position, *self.rotation, *self.gripper)
        refuse_unless(bool(self.names), "schema.names is empty; name the dimensions of a state")
        refuse_unless(
            len(self.units) == len(self.names),
            f"schema.units has {len(self.units)} entries for {len(self.names)} names; give one unit for each dimension",
        )
        refuse_unless(
            len(set(dims)) == len(dims) and all(0 <= dim < len(self.names) for dim in dims),
            f"schema: position, rotation and gripper name {dims}; each must be one of 0..{len(self.names) - 1}, once",
        )
        refuse_unless(
            len(self.rotation) % 3 == 0 and len(self.position) % 3 == 0,
            f"schema: {len(self.position)} position and {len(self.rotation)} rotation dimensions; both come in threes",
        )
        wrong = [self.names[dim] for dim in self.rotation if self.units[dim] != "rad"]
        refuse_unless(not wrong, f"schema.units: the angles {wrong} must be in rad; convert the data")
        refuse_unless(
            len(self.centres) in (0, len(self.rotation)) and all(map(math.isfinite, self.centres)),
            f"schema.centres={self.centres} for {len(self.rotation)} angles; give one number of radians for each, or none",
        )

    def _check_actions(self) -> None:
        refuse_unless(
            self.delta == "recorded" or not self.actions,
            f"schema.actions names dimensions, but under delta={self.delta} they are the state's; leave it empty",
        )
        refuse_unless(
            len(self.bounds) == self.action_dims and all(low < high for low, high in self.bounds),
            f"schema.bounds must be {self.action_dims} pairs (least, greatest), one for each dimension of an action, "
            f"got {self.bounds}",
        )

    @property
    def state_dims(self) -> int:
        return len(self.names)

    @property
    def action_dims(self) -> int:
        return len(self.actions or self.names)

    def clip(self, action: Float[Tensor, "*b Da"]) -> Float[Tensor, "*b Da"]:
        """The nearest action within the bounds."""
        return torch.stack([action[..., i].clamp(low, high) for i, (low, high) in enumerate(self.bounds)], -1)

    def wrap(self, state: Float[Tensor, "*b Ds"]) -> Float[Tensor, "*b Ds"]:
        """The same state with its angles by whole turns nearest to their `centres`: what networks are given."""
        if not self.centres:
            return state
        wrapped = state.clone()
        for dim, centre in zip(self.rotation, self.centres, strict=True):  # not one tensor: that would be a copy to the GPU
            wrapped[..., dim] += FULL_TURN * ((centre - state[..., dim]) / FULL_TURN).round()
        return wrapped

    def outside(self, actions: Float[Tensor, "*b Da"]) -> float:
        """Share of actions of which at least one dimension lies beyond the bounds, 0..1."""
        far = (self.clip(actions) - actions).abs() > 1e-6
        return float(far.any(-1).double().mean())


END_EFFECTOR = StateSchema()


def vector_schema(names: tuple[str, ...], unit: str, bound: float) -> StateSchema:
    """A schema of plain numbers whose actions are differences within +-bound: joints, a mobile base, a cursor."""
    none: tuple[int, ...] = ()
    bounds = ((-bound, bound),) * len(names)
    return StateSchema(names, (unit,) * len(names), none, none, none, delta="difference", bounds=bounds)


def schema_from(fields: Mapping[str, Any]) -> StateSchema:
    """The schema whose `dataclasses.asdict` has been through JSON, which has lists for tuples."""
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return StateSchema(**(tuples | {"bounds": tuple((low, high) for low, high in fields["bounds"])}))


def pose_delta(
    state: Float[Tensor, "*#b Ds"], next_state: Float[Tensor, "*#b Ds"], schema: StateSchema = END_EFFECTOR
) -> Float[Tensor, "*b Da"]:
    """The action that leads from a state to the next. Angles of the result are within +-pi, the middle one +-pi/2.

    Raises UserError if the schema's actions are the data's own.
    """
    _check_rule(state, schema)
    delta = next_state - state
    if schema.delta == "pose" and schema.rotation:
        before, after = _rotations(state, schema), _rotations(next_state, schema)
        delta[..., _index(schema.rotation)] = _angles(after @ before.mT)
    return delta


def pose_apply(
    state: Float[Tensor, "*#b Ds"], action: Float[Tensor, "*#b Da"], schema: StateSchema = END_EFFECTOR
) -> Float[Tensor, "*b Ds"]:
    """The state to which an action leads: the inverse of `pose_delta`, for rotations as rotations. Angles that are not in
    the principal range (+-pi, the middle one +-pi/2, then by whole turns to `schema.centres`) come back as those of the same
    rotation that are.

    Raises UserError if the schema's actions are the data's own.
    """
    _check_rule(state, schema)
    after = state + action
    if schema.delta == "pose" and schema.rotation:
        after[..., _index(schema.rotation)] = _angles(_rotations(action, schema) @ _rotations(state, schema))
        after = schema.wrap(after)
    return after


def pose_in_camera(
    state: Float[Tensor, "*#b Ds"], extrinsics: Float[Tensor, "*#b 6"], schema: StateSchema = END_EFFECTOR
) -> Float[Tensor, "*b Ds"]:
    """The same state seen from a camera whose pose in the robot's frame is `extrinsics`: xyz metres, xyz Euler radians."""
    if len(schema.position) != len(schema.rotation):
        raise UserError("only a schema with three angles for every position has a pose in the camera's frame")
    to_camera = euler_to_matrix(extrinsics[..., 3:])[..., None, :, :].mT
    away = rearrange(state[..., _index(schema.position)], "... (g xyz) -> ... g xyz", xyz=3) - extrinsics[..., None, :3]
    rotation = to_camera @ _rotations(state, schema)
    seen = state.expand(*rotation.shape[:-3], -1).clone()
    seen[..., _index(schema.position)] = rearrange((to_camera @ away[..., None])[..., 0], "... g xyz -> ... (g xyz)")
    seen[..., _index(schema.rotation)] = _angles(rotation)
    return seen


def euler_to_matrix(euler: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Extrinsic xyz angles in radians -> rotation matrices."""
    (cx, cy, cz), (sx, sy, sz) = euler.cos().unbind(-1), euler.sin().unbind(-1)
    rows = (
        torch.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx], -1),
        torch.stack([sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx], -1),
        torch.stack([-sy, cy * sx, cy * cx], -1),
    )
    return torch.stack(rows, -2)


def matrix_to_euler(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Rotation matrices -> extrinsic xyz angles in radians, the middle one within +-pi/2.

    The last angle is read after the first has been turned back. So near gimbal lock, where only their sum is determined,
    the three together still give the same matrix, however the first was rounded.
    """
    r = rotation
    x = torch.atan2(r[..., 2, 1], r[..., 2, 2])
    y = torch.atan2(-r[..., 2, 0], torch.hypot(r[..., 2, 1], r[..., 2, 2]))
    sine, cosine = x.sin(), x.cos()
    z = torch.atan2(sine * r[..., 0, 2] - cosine * r[..., 0, 1], cosine * r[..., 1, 1] - sine * r[..., 1, 2])
    return torch.stack([x, y, z], -1)


def _rotations(vector: Float[Tensor, "*b D"], schema: StateSchema) -> Float[Tensor, "*b g 3 3"]:
    return euler_to_matrix(rearrange(vector[..., _index(schema.rotation)], "... (g xyz) -> ... g xyz", xyz=3))


def _angles(rotation: Float[Tensor, "*b g 3 3"]) -> Float[Tensor, "*b D"]:
    return rearrange(matrix_to_euler(rotation), "... g xyz -> ... (g xyz)")


def _index(dims: tuple[int, ...]) -> slice | list[int]:
    """A slice where it can be: an index list is copied to the GPU every time, and planners ask thousands of times."""
    whole = dims == tuple(range(dims[0], dims[0] + len(dims)))
    return slice(dims[0], dims[0] + len(dims)) if whole else list(dims)


def _check_rule(state: Tensor, schema: StateSchema) -> None:
    if schema.delta == "recorded":
        raise UserError("schema.delta=recorded: these actions are the data's own, and what they do to a state is not known")
    if state.shape[-1] != schema.state_dims:
        raise UserError(f"a state of {state.shape[-1]} numbers contradicts the schema, which names {list(schema.names)}")

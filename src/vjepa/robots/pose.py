"""States of robots and their changes: rigid poses with Euler angles and a gripper, or plain vectors; batched torch.

    action = pose_delta(state, next_state)
    next_state = pose_apply(state, action)

A `StateSchema` says what the numbers of a state are and how an action changes it. It travels with the weights that were
trained under it, as JSON. Angles are radians, extrinsic xyz: `R = Rz @ Ry @ Rx`, as in DROID. Rotations change by
`R1 R0^T` in the robot's base frame, everything else by difference, as in the public V-JEPA 2-AC loader (`app/vjepa_droid`).
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError
from vjepa.robots.schema import END_EFFECTOR, StateSchema


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
    away = (
        rearrange(state[..., _index(schema.position)], "... (g xyz) -> ... g xyz", xyz=3)
        - extrinsics[..., None, :3]
    )
    rotation = to_camera @ _rotations(state, schema)
    seen = state.expand(*rotation.shape[:-3], -1).clone()
    seen[..., _index(schema.position)] = rearrange(
        (to_camera @ away[..., None])[..., 0], "... g xyz -> ... (g xyz)"
    )
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
        raise UserError(
            "schema.delta=recorded: these actions are the data's own, and what they do to a state is not known"
        )
    if state.shape[-1] != schema.state_dims:
        raise UserError(
            f"a state of {state.shape[-1]} numbers contradicts the schema, which names {list(schema.names)}"
        )

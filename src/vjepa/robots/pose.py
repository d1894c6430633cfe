"""States of robots and the actions between them: poses with Euler angles and a gripper, or plain vectors.

    action = pose_delta(state, next_state)
    next_state = pose_apply(state, action)

All functions are batched. A `StateSchema` says what the numbers of a state are and how an action changes it;
it travels with the weights that were trained under it, as JSON. Angles are those of `vjepa.robots.euler`.
Rotations change by `R1 R0^T` in the robot's base frame, everything else by difference, as in the public
V-JEPA 2-AC loader (`app/vjepa_droid`).
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError
from vjepa.robots.euler import euler_to_matrix, matrix_to_euler
from vjepa.robots.schema import END_EFFECTOR, StateSchema


def pose_delta(
    state: Float[Tensor, "*#b Ds"], next_state: Float[Tensor, "*#b Ds"], schema: StateSchema = END_EFFECTOR
) -> Float[Tensor, "*b Da"]:
    """The action that leads from a state to the next. Its angles are within +-pi, the middle one +-pi/2.

    Raises UserError if the schema's actions are the data's own.
    """
    _check_rule(state, schema)
    delta = next_state - state  # of angles too, until the next lines
    if schema.delta == "pose" and schema.rotation:
        before = _rotations(state, schema)
        after = _rotations(next_state, schema)
        # After = turn @ before, so the turn, in the base frame, is after @ before^T.
        delta[..., _index(schema.rotation)] = _angles(after @ before.mT)
    return delta


def pose_apply(
    state: Float[Tensor, "*#b Ds"], action: Float[Tensor, "*#b Da"], schema: StateSchema = END_EFFECTOR
) -> Float[Tensor, "*b Ds"]:
    """The state to which an action leads: the inverse of `pose_delta`, for rotations as rotations.

    The angles of the result are in the principal range, +-pi and the middle one +-pi/2, and then moved by
    whole turns towards `schema.centres`. Angles outside that range come back as others of the same rotation.

    Raises UserError if the schema's actions are the data's own.
    """
    _check_rule(state, schema)
    after = state + action  # of angles too, until the next lines
    if schema.delta == "pose" and schema.rotation:
        turned = _rotations(action, schema) @ _rotations(state, schema)
        after[..., _index(schema.rotation)] = _angles(turned)
        # Networks were trained on wrapped states, and a rollout gives them this one.
        after = schema.wrap(after)
    return after


def pose_in_camera(
    state: Float[Tensor, "*#b Ds"], extrinsics: Float[Tensor, "*#b 6"], schema: StateSchema = END_EFFECTOR
) -> Float[Tensor, "*b Ds"]:
    """The same state in the frame of a camera.

    extrinsics: The camera's pose in the robot's frame, xyz in metres and three angles.
    Raises UserError if the schema has positions without angles or angles without positions.
    """
    if len(schema.position) != len(schema.rotation):
        raise UserError("only a schema with three angles for every position has a pose in the camera's frame")
    # The pose leads from the camera's frame to the robot's; its transpose leads back.
    to_camera = euler_to_matrix(extrinsics[..., 3:])[..., None, :, :].mT
    positions = rearrange(state[..., _index(schema.position)], "... (g xyz) -> ... g xyz", xyz=3)
    offsets = positions - extrinsics[..., None, :3]
    rotations = to_camera @ _rotations(state, schema)

    # A copy of full size: one state may be seen by many cameras.
    seen = state.expand(*rotations.shape[:-3], -1).clone()
    turned = (to_camera @ offsets[..., None])[..., 0]
    seen[..., _index(schema.position)] = rearrange(turned, "... g xyz -> ... (g xyz)")
    seen[..., _index(schema.rotation)] = _angles(rotations)
    return seen


def _rotations(vector: Float[Tensor, "*b D"], schema: StateSchema) -> Float[Tensor, "*b g 3 3"]:
    """The rotation matrices of a state or an action, one for each three of its angles."""
    return euler_to_matrix(rearrange(vector[..., _index(schema.rotation)], "... (g xyz) -> ... g xyz", xyz=3))


def _angles(rotation: Float[Tensor, "*b g 3 3"]) -> Float[Tensor, "*b D"]:
    return rearrange(matrix_to_euler(rotation), "... g xyz -> ... (g xyz)")


def _index(dims: tuple[int, ...]) -> slice | list[int]:
    """A slice if the dimensions are adjacent: planners would copy a list to the GPU at every call."""
    end = dims[0] + len(dims)
    return slice(dims[0], end) if dims == tuple(range(dims[0], end)) else list(dims)


def _check_rule(state: Tensor, schema: StateSchema) -> None:
    if schema.delta == "recorded":
        raise UserError(
            "schema.delta=recorded: the actions are the data's own, and what they do to a state is not known"
        )
    if state.shape[-1] != schema.state_dims:
        raise UserError(
            f"a state of {state.shape[-1]} numbers contradicts the schema, which names {list(schema.names)}"
        )

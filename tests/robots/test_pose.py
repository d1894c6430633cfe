"""Laws of poses: deltas undo themselves, compose, and agree with numbers worked out by hand."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from vjepa.errors import UserError
from vjepa.robots.euler import euler_to_matrix, matrix_to_euler
from vjepa.robots.pose import pose_apply, pose_delta, pose_in_camera
from vjepa.robots.schema import END_EFFECTOR, StateSchema, vector_schema
from vjepa.weights.settings import settings

PI = math.pi
QUARTER = math.pi / 2
TWO_ARMS = StateSchema(
    names=tuple("abcdefghijklmn"),
    units=(*("m",) * 3, *("rad",) * 3, "closed") * 2,
    position=(0, 1, 2, 7, 8, 9),
    rotation=(3, 4, 5, 10, 11, 12),
    gripper=(6, 13),
    bounds=END_EFFECTOR.bounds * 2,
)


def states(count: int, pitch: float = 1.4, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    """Random states whose angles are in the principal range."""
    random = torch.rand(count, 7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return (random * torch.tensor([1, 1, 1, PI, pitch, PI, 1], dtype=torch.float64)).to(dtype)


def same_pose(a: torch.Tensor, b: torch.Tensor, atol: float) -> None:
    """Equal positions and grippers, and equal rotations, whatever their angles."""
    torch.testing.assert_close(a[..., [0, 1, 2, 6]], b[..., [0, 1, 2, 6]], atol=atol, rtol=0)
    torch.testing.assert_close(euler_to_matrix(a[..., 3:6]), euler_to_matrix(b[..., 3:6]), atol=atol, rtol=0)


# -- rotations -----------------------------------------------------------------------------------------------


def test_angles_are_extrinsic_xyz_by_hand():
    """First a quarter turn about the fixed x axis (y -> z), then one about the fixed z axis (x -> y)."""
    matrix = euler_to_matrix(torch.tensor([QUARTER, 0.0, QUARTER], dtype=torch.float64))
    expected = torch.tensor([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(matrix, expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_matrices_are_rotations_and_come_back(dtype, atol):
    angles = states(500, dtype=dtype)[:, 3:6]
    matrix = euler_to_matrix(angles)
    torch.testing.assert_close(
        matrix @ matrix.mT, torch.eye(3, dtype=dtype).expand_as(matrix), atol=atol, rtol=0
    )
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(500, dtype=dtype), atol=atol, rtol=0)
    torch.testing.assert_close(matrix_to_euler(matrix), angles, atol=20 * atol, rtol=0)


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 2e-6), (torch.float64, 2e-15)])
@pytest.mark.parametrize("short_of", [0.0, 1e-9, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("side", [-1, 1])
def test_near_gimbal_lock_the_rotation_is_kept(dtype, atol, short_of, side):
    angles = states(200, dtype=dtype)[:, 3:6]
    angles[:, 1] = side * (QUARTER - short_of)
    matrix = euler_to_matrix(angles)
    torch.testing.assert_close(euler_to_matrix(matrix_to_euler(matrix)), matrix, atol=atol, rtol=0)


def test_arrays_have_the_angles_of_tensors():
    """The simulator uses numpy, everything else torch."""
    angles = states(200, pitch=QUARTER)[:, 3:6]
    matrix = euler_to_matrix(angles.numpy())
    assert isinstance(matrix, np.ndarray)
    np.testing.assert_allclose(matrix, euler_to_matrix(angles).numpy(), atol=1e-15)
    np.testing.assert_allclose(matrix_to_euler(matrix), matrix_to_euler(torch.from_numpy(matrix)), atol=1e-14)
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(matrix[0])), matrix[0], atol=1e-15)


# -- deltas --------------------------------------------------------------------------------------------------


def test_a_delta_by_hand():
    """A hand that points along x is pitched by -30 degrees: a turn about the fixed y axis."""
    state = torch.tensor([0.4, 0.1, 0.2, 0.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    after = torch.tensor([0.5, 0.1, 0.1, 0.0, -QUARTER / 3, 0.0, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.1, 0.0, -0.1, 0.0, -QUARTER / 3, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(pose_delta(state, after), expected, atol=1e-15, rtol=0)
    # Deltas are in the base frame: a roll about the fixed x axis is one even if the hand is yawed.
    yawed = torch.tensor([0, 0, 0, 0, 0, QUARTER, 0], dtype=torch.float64)
    roll = torch.tensor([0, 0, 0, 0.3, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(pose_delta(yawed, pose_apply(yawed, roll)), roll, atol=1e-15, rtol=0)


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 2e-5), (torch.float64, 1e-13)])
def test_apply_undoes_delta_exactly(dtype, atol):
    before, after = states(1000, dtype=dtype), states(1000, dtype=dtype, seed=1)
    torch.testing.assert_close(pose_apply(before, pose_delta(before, after)), after, atol=atol, rtol=0)
    action = states(1000, dtype=dtype, seed=2)
    torch.testing.assert_close(pose_delta(before, pose_apply(before, action)), action, atol=atol, rtol=0)


def test_round_trip_of_angles_beyond_the_principal_range_and_at_gimbal_lock():
    before, after = 2 * states(500), 2 * states(500, seed=1)
    after[:100, 4] = QUARTER
    before[50:150, 4] = -QUARTER
    same_pose(pose_apply(before, pose_delta(before, after)), after, 1e-13)


def test_a_hand_that_points_down_crosses_pi_without_a_jump():
    """Roll +179 degrees to -179 degrees is a turn by two degrees."""
    degree = math.radians(1)
    before = torch.tensor([0, 0, 0, PI - degree, 0, 0.3, 0], dtype=torch.float64)
    after = torch.tensor([0, 0, 0, degree - PI, 0, 0.3, 0], dtype=torch.float64)
    assert abs(pose_delta(before, after)[3:6].norm() - 2 * degree) < 1e-4
    same_pose(pose_apply(before, pose_delta(before, after)), after, 1e-14)


def test_centres_take_the_jump_out_of_states_and_leave_the_rotation():
    down = replace(END_EFFECTOR, centres=(PI, 0.0, 0.0))
    before = torch.tensor(
        [[0, 0, 0, PI - 0.01, 0, 0.3, 0], [0, 0, 0, 0.01 - PI, 0, 0.3, 0]], dtype=torch.float64
    )
    wrapped = down.wrap(before)
    torch.testing.assert_close(wrapped[:, 3], torch.tensor([PI - 0.01, PI + 0.01], dtype=torch.float64))
    same_pose(wrapped, before, 1e-15)
    action = pose_delta(wrapped[0], wrapped[1], down)
    torch.testing.assert_close(action, pose_delta(before[0], before[1]), atol=1e-15, rtol=0)
    torch.testing.assert_close(pose_apply(wrapped[0], action, down), wrapped[1], atol=1e-14, rtol=0)


def test_deltas_compose():
    a, b, c = states(200), states(200, seed=1), states(200, seed=2)
    first, second = pose_delta(a, b), pose_delta(b, c)
    whole = euler_to_matrix(second[:, 3:6]) @ euler_to_matrix(first[:, 3:6])
    torch.testing.assert_close(euler_to_matrix(pose_delta(a, c)[:, 3:6]), whole, atol=1e-13, rtol=0)
    same_pose(pose_apply(pose_apply(a, first), second), c, 1e-13)
    assert pose_delta(a, a).abs().max() < 1e-14


def test_one_state_and_many_actions():
    state = states(1)
    actions = states(64, seed=3).reshape(4, 16, 7)
    batched = pose_apply(state, actions)
    single = pose_apply(state[0], actions[2, 5])
    assert batched.shape == (4, 16, 7)
    assert torch.allclose(batched[2, 5], single, atol=1e-15)


def test_two_arms_are_two_poses():
    before, after = (torch.cat([states(50, seed=s), states(50, seed=s + 9)], -1) for s in (0, 1))
    delta = pose_delta(before, after, TWO_ARMS)
    torch.testing.assert_close(delta[:, :7], pose_delta(before[:, :7], after[:, :7]))
    torch.testing.assert_close(delta[:, 7:], pose_delta(before[:, 7:], after[:, 7:]))
    torch.testing.assert_close(pose_apply(before, delta, TWO_ARMS), after, atol=1e-13, rtol=0)


def test_plain_vectors_change_by_difference():
    joints = vector_schema(("shoulder", "elbow"), "rad", 0.2)
    before, after = torch.tensor([3.0, -3.0]), torch.tensor([-3.0, 1.0])
    assert pose_delta(before, after, joints).tolist() == [-6.0, 4.0]
    assert pose_apply(before, pose_delta(before, after, joints), joints).tolist() == [-3.0, 1.0]


# -- the camera's frame --------------------------------------------------------------------------------------


def test_a_camera_at_the_hand_sees_it_at_the_origin():
    state = states(20)
    seen = pose_in_camera(state, state[:, :6])
    torch.testing.assert_close(seen[:, :6], torch.zeros(20, 6, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(seen[:, 6], state[:, 6])


def test_a_point_seen_from_a_camera_by_hand():
    """A camera one metre up that is yawed by 90 degrees has the base frame's y axis as its own x axis."""
    state = torch.tensor([0.0, 2.0, 1.0, 0.0, 0.0, QUARTER, 0.5], dtype=torch.float64)
    extrinsics = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, QUARTER], dtype=torch.float64)
    expected = torch.tensor([2.0, 0, 0, 0, 0, 0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(pose_in_camera(state, extrinsics), expected, atol=1e-15, rtol=0)


# -- schemas -------------------------------------------------------------------------------------------------


def test_a_schema_survives_json():
    for schema in (replace(END_EFFECTOR, centres=(PI, 0.0, 0.0)), TWO_ARMS, vector_schema(("a",), "m", 1.0)):
        assert settings(StateSchema, json.loads(json.dumps(asdict(schema)))) == schema


def test_actions_are_clipped_to_their_bounds():
    actions = torch.tensor([[0.1, 0, 0, 0, 0, 0, 0], [0.05, 0, 0, 0, 0, 0, -1]])
    torch.testing.assert_close(END_EFFECTOR.clip(actions)[:, 0], torch.tensor([0.075, 0.05]))
    assert END_EFFECTOR.outside(actions) == 0.5


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"units": ("m",)}, "1 entries for 7 names"),
        ({"gripper": (7,)}, r"one of 0\.\.6"),
        ({"gripper": (5,)}, "once"),
        ({"rotation": (3, 4)}, "threes"),
        ({"units": ("m", "m", "m", "deg", "deg", "deg", "closed")}, "must be in rad"),
        ({"bounds": ((0.0, 1.0),)}, "7 pairs"),
        ({"actions": ("a",)}, "leave it empty"),
        ({"centres": (0.0,)}, r"centres=\(0.0,\) for 3 angles"),
    ],
)
def test_impossible_schemas_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        replace(END_EFFECTOR, **fields)


def test_recorded_actions_have_no_delta_rule():
    schema = replace(END_EFFECTOR, delta="recorded", actions=("a", "b"), bounds=((-1.0, 1.0),) * 2)
    assert (schema.state_dims, schema.action_dims) == (7, 2)
    with pytest.raises(UserError, match="recorded"):
        pose_delta(torch.zeros(7), torch.zeros(7), schema)
    with pytest.raises(UserError, match="contradicts the schema"):
        pose_apply(torch.zeros(6), torch.zeros(6))

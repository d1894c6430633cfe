"""Laws of the square around the hand: frames turn into each other, and a point lies where cameras show it."""

import numpy as np
import pytest
import torch

from vjepa.errors import UserError
from vjepa.robots.hand_view import HandView, beside, hand_box, in_camera, in_robot
from vjepa.robots.pose import pose_in_camera


def cameras(count: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    return torch.cat([torch.randn(count, 3, generator=random), torch.randn(count, 3, generator=random)], -1)


def test_there_and_back():
    poses = cameras(20).double()
    positions = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(in_robot(in_camera(positions, poses), poses), positions)


def test_a_position_is_that_of_a_whole_pose_in_the_camera():
    poses = cameras(20).double()
    states = torch.rand(20, 7, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(in_camera(states[:, :3], poses), pose_in_camera(states, poses)[:, :3])


def test_a_hand_on_the_axis_is_in_the_middle():
    view = HandView(side=0.25, fov=60.0)
    assert hand_box(torch.tensor([0.0, 0.0, 1.3]), 200, 300, view) == (75, 125, 50, 50)


def test_the_edge_of_the_field_of_view_is_the_edge_of_the_picture():
    view = HandView(side=0.1, fov=90.0)
    # At 45 degrees to the right and down, one metre away: the corner of a square picture.
    assert hand_box(torch.tensor([1.0, 1.0, 1.0]), 100, 100, view) == (90, 90, 10, 10)


@pytest.mark.parametrize("seen", [(9.0, -9.0, 1.0), (0.1, 0.0, -1.0), (0.0, 0.0, 0.0), (1e9, 1e9, 1e-9)])
def test_every_square_lies_inside_the_picture(seen):
    top, left, height, width = hand_box(torch.tensor(seen), 120, 160, HandView())
    assert 0 <= top <= 120 - height and 0 <= left <= 160 - width and height == width == round(0.16 * 120)


@pytest.mark.parametrize(
    "settings", [{"side": 0.0}, {"side": 1.1}, {"fov": 0.0}, {"fov": 180.0}, {"size": 0}, {"jitter": -0.1}]
)
def test_impossible_squares_are_refused(settings):
    with pytest.raises(UserError, match=r"hand\."):
        HandView(**settings)


def test_the_simulated_hand_is_in_its_square():
    """The renderer's own segmentation says where the fingers are."""
    pytest.importorskip("mujoco")
    from vjepa.sim.world.env import DemoWorld, WorldConfig
    from vjepa.sim.world.looks import AROUND
    from vjepa.sim.world.panda import FINGER_GEOMS
    from vjepa.sim.world.scene import SceneConfig

    for seed in range(5):
        world = DemoWorld(WorldConfig(size=96, scene=SceneConfig(objects=(0, 0), camera=AROUND)))
        state = world.reset(seed=seed)[0]["state"]
        extrinsics = torch.from_numpy(world.scene.camera.extrinsics)
        seen = in_camera(torch.from_numpy(state[:3]), extrinsics)
        top, left, height, width = hand_box(seen, 96, 96, HandView())
        fingers = [world.simulation.model.geom(name).id for name in FINGER_GEOMS]
        rows, columns = np.nonzero(np.isin(world.image.geom, fingers))
        inside = (top <= rows) & (rows < top + height) & (left <= columns) & (columns < left + width)
        assert len(rows) and inside.mean() > 0.8


def test_beside_moves_the_square_by_as_many_pixels():
    view = HandView(side=0.2, fov=50.0)
    seen = torch.tensor([0.1, -0.05, 1.2])
    top, left, *_ = hand_box(seen, 500, 500, view)
    moved = beside(seen, torch.tensor([0.02, -0.06]), view)
    assert hand_box(moved, 500, 500, view)[:2] == (top - 30, left + 10)

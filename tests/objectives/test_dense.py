"""The loss at kept places, against the paper's equations 2 and 3 by hand."""

import pytest
import torch

from vjepa.models.rope import grid_positions
from vjepa.objectives.dense import context_l1, distance
from vjepa.objectives.masked_prediction import Prediction
from vjepa.objectives.masks import View

GRID = (2, 3, 4)


def prediction(keep: list[int], drop: list[int], errors: list[float]) -> Prediction:
    view = View(torch.tensor([keep]), torch.tensor([drop]))
    return Prediction(view, torch.ones(1, len(drop)), torch.tensor([errors]), None)


def test_a_distance_is_that_to_the_nearest_dropped_place():
    # On a grid of 2 times 3x4: 0 is a corner, 23 the opposite one; 12 lies one moment after 0.
    keep, drop = [0, 1, 11], [12, 23]
    expected = [1.0, 2**0.5, 1.0]
    assert distance(torch.tensor([keep]), torch.tensor([drop]), GRID)[0].tolist() == pytest.approx(expected)
    everywhere = torch.randperm(24)[None]
    kept, dropped = everywhere.split([9, 15], dim=1)
    between = grid_positions(kept, GRID)[0][:, None] - grid_positions(dropped, GRID)[0]
    nearest = between.square().sum(-1).sqrt().amin(1)
    torch.testing.assert_close(distance(kept, dropped, GRID)[0], nearest)


def test_an_error_counts_by_the_root_of_its_distance():
    one = prediction([0, 1], [3], [3.0, 4.0])  # three and two columns away
    expected = (3.0 / 3**0.5 + 4.0 / 2**0.5) / 2
    assert float(context_l1([one], GRID, by_distance=True)) == pytest.approx(expected)
    assert float(context_l1([one], GRID, by_distance=False)) == pytest.approx(3.5)


def test_views_count_alike_however_many_places_they_keep():
    views = [prediction([0, 1, 2], [3], [1.0, 1.0, 1.0]), prediction([0], [1], [5.0])]
    assert float(context_l1(views, GRID, by_distance=False)) == pytest.approx(3.0)

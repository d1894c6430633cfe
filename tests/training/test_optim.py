"""Schedules are pure functions of the step that reach their stated ends; only matrices decay."""

import pytest
import torch
from torch import nn

from vjepa.models.frozen import freeze_copy
from vjepa.objectives import ema
from vjepa.training.optim import OptimConfig, Schedule, adamw, set_step


def test_warmup_constant_decay_reach_their_ends():
    schedule = Schedule(peak=5.25e-4, start=1e-4, warmup=3, final=1e-6, decay=4)
    values = [schedule.at(step, total=12) for step in range(1, 13)]
    as_released = [2.4167e-4, 3.8333e-4, 5.25e-4, 5.25e-4]
    assert values[:4] == pytest.approx(as_released, rel=1e-4)
    assert values[3:8] == [5.25e-4] * 5
    assert values[-1] == 1e-6 and values[-2] == pytest.approx(1e-6 + (5.25e-4 - 1e-6) / 4)


def test_cosine_halfway_is_the_mean():
    schedule = Schedule(peak=1.0, final=0.0, decay=10, shape="cosine")
    assert schedule.at(5, 10) == pytest.approx(0.5) and schedule.at(10, 10) == 0.0


@pytest.mark.parametrize(
    ("fields", "word"),
    [({"final": 0.1}, "never reached"), ({"start": 0.1}, "never used"), ({"warmup": -1}, "negative")],
)
def test_contradictions_are_refused(fields, word):
    with pytest.raises(ValueError, match=word):
        Schedule(peak=1.0, **fields)


def test_only_matrices_decay():
    optimizer = adamw(OptimConfig(), nn.Linear(3, 2), nn.LayerNorm(2))
    set_step(optimizer, OptimConfig(weight_decay=Schedule(0.3)), 1, 10)
    matrices, vectors = optimizer.param_groups
    assert [p.ndim for p in matrices["params"]] == [2] and matrices["weight_decay"] == 0.3
    assert [p.ndim for p in vectors["params"]] == [1, 1, 1] and vectors["weight_decay"] == 0.0


def test_ema_is_the_moving_average():
    momentum = 0.9
    online = nn.Linear(2, 2)
    target = freeze_copy(online)
    expected = online.weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            online.weight.add_(float(step))
        ema.update(target, online, momentum)
        expected = momentum * expected + (1 - momentum) * online.weight.detach()
    torch.testing.assert_close(target.weight, expected)
    assert not any(p.requires_grad for p in target.parameters()) and ema.distance(target, online) > 0

"""Means over devices: they weigh every sample alike, whichever device has it, and a device may have none."""

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy

from vjepa.data.means import Means, sum_over_devices


class Devices(SingleDeviceStrategy):
    """Stands in for several devices: they give their parts in turn, and the last of them gets the sum."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.parts: list[torch.Tensor] = []

    def reduce(self, tensor: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        self.parts.append(tensor)
        return torch.stack(self.parts).sum(dim=0)


def test_a_mean_is_that_of_all_samples_however_they_are_cut():
    values = torch.arange(12.0).square()
    for cuts in ([12], [5, 7], [1, 1, 10], [4, 4, 4]):
        means = Means(("loss",))
        for part in values.split(cuts):
            means.add({"loss": part.mean()}, len(part))
        assert means.compute(Devices()) == {"loss": pytest.approx(float(values.mean()))}
        assert means.count == 12


def test_a_device_without_samples_takes_part_and_changes_nothing():
    devices = Devices()
    names = ("loss", "accuracy", "never")
    empty, other = Means(names), Means(names)
    other.add({"accuracy": 0.25, "loss": torch.tensor(3.0)}, 4)  # in another order than the names
    assert empty.compute(devices) == {} and empty.count == 0
    assert other.compute(devices) == {"loss": 3.0, "accuracy": 0.25}


def test_computed_means_begin_anew_and_hold_no_gradient():
    means = Means()
    weight = torch.tensor(2.0, requires_grad=True)
    means.add({"loss": weight * 3}, 2)
    assert not means.totals["loss"].requires_grad
    assert means.compute(Devices()) == {"loss": 6.0}
    assert means.compute(Devices()) == {}
    means.add({"loss": 1.0}, 1)
    assert means.compute(Devices()) == {"loss": 1.0}


def test_a_batch_without_tokens_weighs_nothing():
    means = Means()
    means.add({"loss": torch.tensor(0.0)}, 0)
    means.add({"loss": torch.tensor(5.0)}, 3)
    assert means.compute(Devices()) == {"loss": 5.0}


def test_sums_take_numbers_and_tensors():
    assert sum_over_devices(Devices(), [1, 2.5, torch.tensor(3)]) == [1.0, 2.5, 3.0]
    assert sum_over_devices(Devices(), []) == []

"""Means over samples that are shared out over devices and micro-batches.

means = Means(("loss", "accuracy"))
means.add({"loss": loss, "accuracy": accuracy}, len(batch))     # for every batch of this device
means.compute(trainer.strategy)                                 # over all samples of all devices
"""

from collections.abc import Iterable, Mapping

import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor


class Means:
    """Weighted means of named values.

    Devices add up their totals by position. A device that may see no sample has to know all names beforehand.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = tuple(names)
        self.count = 0.0
        """Over all devices, the largest weight of a name in the means that were computed last."""
        self.begin()

    def begin(self) -> None:
        """Forget all values."""
        self.totals: dict[str, float | Tensor] = dict.fromkeys(self.names, 0.0)
        self.weights: dict[str, float] = dict.fromkeys(self.names, 0.0)

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What was added on this device since the last `compute`."""
        totals = {name: float(total) for name, total in self.totals.items()}
        return {"totals": totals, "weights": dict(self.weights)}

    def load_state_dict(self, state: dict[str, dict[str, float]]) -> None:
        self.totals = dict(state["totals"])
        self.weights = dict(state["weights"])

    def add(self, values: Mapping[str, float | Tensor], weight: float | int) -> None:
        """Add the means of a batch. weight: how many samples, or tokens, they are means of."""
        for name, value in values.items():
            # A tensor stays on its device, since reading it would wait for the device.
            value = value.detach() if isinstance(value, Tensor) else value
            self.totals[name] = self.totals.get(name, 0.0) + value * weight
            self.weights[name] = self.weights.get(name, 0.0) + weight

    def compute(self, strategy: Strategy) -> dict[str, float]:
        """Return the means over all devices, and forget all values. A name without a sample is left out.

        Every process has to call it.
        """
        sums = [*self.totals.values(), *self.weights.values()]
        reduced = sum_over_devices(strategy, sums)
        names = list(self.totals)
        totals = reduced[: len(names)]
        weights = reduced[len(names) :]
        self.begin()
        self.count = max(weights, default=0.0)
        return {name: t / w for name, t, w in zip(names, totals, weights, strict=True) if w}


def sum_over_devices(strategy: Strategy, values: Iterable[float | int | Tensor]) -> list[float]:
    """Each value added up over all devices, in one exchange. Every process has to call it."""
    device = strategy.root_device
    numbers = [torch.as_tensor(value, dtype=torch.float32, device=device) for value in values]
    return strategy.reduce(torch.stack(numbers), reduce_op="sum").tolist() if numbers else []

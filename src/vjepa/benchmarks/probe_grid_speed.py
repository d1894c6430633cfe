"""Probe grid speed."""

import copy
import time

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.probe_grid import (
    ProbeGrid,
)


def seconds_a_step(probes: list[nn.Module], tokens: Float[Tensor, "b n d"], steps: int) -> float:
    """Of forward and backward through every probe in turn, the median."""
    times = []
    for _ in range(steps + 1):  # the first warms up
        since = time.perf_counter()
        for probe in probes:
            probe(tokens).square().sum().backward()
        times.append(time.perf_counter() - since)
    return sorted(times[1:])[steps // 2]


def bench_probe_grid(*, size: int = 20, steps: int = 5) -> None:
    """One row a setting: a loop over `size` probes, the grid, and their ratio."""
    torch.manual_seed(0)
    print(f"seconds a training step (forward and backward) of {size} heads, one process")
    for name, depth, heads, width, n, b in (
        ("demo, 1 block, width 64", 1, 4, 64, 320, 16),
        ("1 block, width 384", 1, 8, 384, 512, 4),
        ("4 blocks, width 64", 4, 4, 64, 320, 4),
        ("linear, width 384", 0, 8, 384, 512, 4),
    ):
        probe, tokens = AttentiveProbe(ProbeConfig(depth, heads), width, 10), torch.randn(b, n, width)
        loop = seconds_a_step([copy.deepcopy(probe) for _ in range(size)], tokens, steps)
        grid = seconds_a_step([ProbeGrid(probe, size)], tokens, steps)
        print(f"  {name:<26}loop {loop:8.4f}   grid {grid:8.4f}   {loop / grid:5.1f} times faster")

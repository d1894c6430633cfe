"""How long a training step of many probes takes, as one network and in a loop."""

import copy
import time
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import check_positive
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.probe_grid import ProbeGrid

# Name, blocks, attention heads, width, tokens of a clip, clips of a batch. Probes of more blocks are left
# out, because a grid computes them in a loop too.
SETTINGS = (
    ("demo, 1 block, width 64", 1, 4, 64, 320, 16),
    ("1 block, width 384", 1, 8, 384, 512, 4),
    ("linear, width 384", 0, 8, 384, 512, 4),
)


def seconds_a_step(probes: list[nn.Module], tokens: Float[Tensor, "b n d"], steps: int) -> float:
    """Median time of forward and backward through every probe in turn."""
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        for probe in probes:
            probe(tokens).square().sum().backward()
        times.append(time.perf_counter() - start)
    return median(times[1:])  # the first step warms up


def bench_probe_grid(*, size: int = 20, steps: int = 5) -> None:
    """Print one row a setting: a loop over the heads, the grid, and their ratio.

    Args:
        size: Number of heads.
        steps: Steps whose median is printed.
    """
    check_positive(size=size, steps=steps)
    torch.manual_seed(0)
    print(f"seconds a training step (forward and backward) of {size} heads, one process")
    for name, depth, heads, width, n, b in SETTINGS:
        probe = AttentiveProbe(ProbeConfig(depth, heads), width, 10)
        tokens = torch.randn(b, n, width)
        loop = seconds_a_step([copy.deepcopy(probe) for _ in range(size)], tokens, steps)
        grid = seconds_a_step([ProbeGrid(probe, size)], tokens, steps)
        print(f"  {name:<26}loop {loop:8.4f}   grid {grid:8.4f}   {loop / grid:5.1f} times faster")

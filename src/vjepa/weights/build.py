"""Networks of the settings and the tensors in a file. Nothing is allocated before the two agree.

    build(Encoder, EncoderConfig(...), state=state, source=path)

Settings that a file names may say anything, such as a width of 10^9 or 200,000 blocks. So a network is built
on torch's `meta` device first, where it has names and shapes but no numbers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from vjepa.errors import damage_as_error
from vjepa.weights.files import CheckpointError, State, check_fits, fill

Network = TypeVar("Network", bound=nn.Module)


def build(make: Callable[..., Network], config: Any, *rest: Any, state: State, source: Path) -> Network:
    """The network `make(config, *rest)` with all of `state` and nothing else loaded.

    Its numbers are copies, so the file may change afterwards. On torch's `meta` device there are none.

    Raises CheckpointError, which names `source`, for settings that the tensors contradict.
    """
    check_counts(config, state, source)
    with damage_as_error(source, CheckpointError), torch.device("meta"), ShapesAlone():
        network = make(config, *rest)
    check_fits(network, state, source)
    device = torch.get_default_device()
    if device.type != "meta":
        network.to_empty(device=device)
        fill(network, state, source)
    return network


def check_counts(config: Any, state: State, source: Path) -> None:
    """Raise CheckpointError for a setting that is larger than all numbers, or a depth than all tensors."""
    # Even without numbers, blocks take time to build.
    most = max(1, sum(value.numel() for value in state.values()))
    for key, value in vars(config).items():
        limit = len(state) if key == "depth" else most
        if isinstance(value, int) and value > limit:
            raise CheckpointError(
                f"{source}: its settings say {key} {value:,}, but it holds {len(state):,} tensors of "
                f"{most:,} numbers; give another file"
            )


class ShapesAlone(TorchFunctionMode):
    """Draws no numbers on torch's `meta` device, and copies none, for which torch would import a compiler."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """The function's result, but for one that changes a tensor in place, that tensor as it is."""
        named = kwargs or {}
        first = args[0] if args else named.get("tensor")
        if func is torch.cat and first[0].is_meta:
            return first[0].new_empty(sum(map(len, first)), *first[0].shape[1:])
        in_place = func.__name__.endswith("_") and not func.__name__.endswith("__")
        return first if in_place and getattr(first, "is_meta", False) else func(*args, **named)

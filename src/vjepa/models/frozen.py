"""Networks that do not train."""

import copy

from torch import nn


def freeze(module: nn.Module) -> nn.Module:
    """The module itself, in eval mode and without gradients."""
    # Eval mode also switches off activation checkpointing, which would only cost time.
    return module.requires_grad_(False).eval()


def freeze_copy(module: nn.Module) -> nn.Module:
    """A frozen copy: it starts with equal weights and does not follow the original."""
    return freeze(copy.deepcopy(module))

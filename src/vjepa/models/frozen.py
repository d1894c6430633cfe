"""Networks that do not train."""

import copy

from torch import nn


def frozen(module: nn.Module) -> nn.Module:
    """The module itself, in eval mode and without gradients."""
    return module.requires_grad_(False).eval()


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy that starts equal, never trains and never drops out."""
    return frozen(copy.deepcopy(module))

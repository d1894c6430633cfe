"""Networks that do not train."""

import copy
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def freeze(module: Module) -> Module:
    """The module itself, in eval mode and without gradients."""
    # Eval mode also switches off activation checkpointing, which would only cost time.
    return module.requires_grad_(False).eval()


def freeze_image_parts(*modules: nn.Module) -> None:
    """Take the gradients from what only images train: a run without images leaves it as it is."""
    for name, parameter in (named for module in modules for named in module.named_parameters()):
        if name.startswith(("embed_image.", "modality.image")):
            parameter.requires_grad_(False)


def freeze_copy(module: Module) -> Module:
    """A frozen copy: it starts with equal weights and does not follow the original."""
    return freeze(copy.deepcopy(module))

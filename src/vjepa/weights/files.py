"""Files."""

import hashlib
import zipfile
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from vjepa.errors import UserError

State = dict[str, Tensor]


class CheckpointError(UserError):
    """Weights that cannot be loaded as asked; says which file, what was found and what was expected."""


M = TypeVar("M", bound=nn.Module)


def existing(source: str | Path) -> Path:
    path = Path(source)
    if not path.exists():
        raise CheckpointError(
            f"{path} does not exist; give a stage's model.safetensors, an upstream .pt or a HF directory"
        )
    return path


def strictly(module: M, state: State, source: Path) -> M:
    """`module` with all of `state` and nothing else loaded."""
    wanted = module.state_dict()
    problems = [f"missing {key}" for key in wanted if key not in state]
    problems += [f"surplus {key}" for key in state if key not in wanted]
    problems += [
        f"{key} is {tuple(state[key].shape)}, expected {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    if problems:
        more = f"; and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise CheckpointError(
            f"{source} does not fit a {type(module).__name__}: {'; '.join(problems[:6])}{more}"
        )
    module.load_state_dict(state, strict=True)
    return module


def digest(path: Path) -> str:
    """The first twelve hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def read_pickle(path: Path) -> dict:
    """A torch file of plain values and tensors: Lightning's `.ckpt` or an upstream `.pt`; never executes code."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # torch raises whatever a broken pickle or archive provokes
        raise CheckpointError(f"{path} cannot be read as a checkpoint of tensors: {error}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path} holds a {type(checkpoint).__name__}, expected a dictionary of networks"
        )
    return checkpoint

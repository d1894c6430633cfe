"""What all weights files need: an error, finding the file, strict loading, and digests."""

import hashlib
import os
import re
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from vjepa.errors import UserError, damage_as_error
from vjepa.weights.box import BOX, box_path, is_box
from vjepa.weights.hub_name import HubName, hub_name
from vjepa.weights.released import released_file

State = dict[str, Tensor]
"""The tensors of a network by name, as `state_dict` gives them."""
Module = TypeVar("Module", bound=nn.Module)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
DAMAGES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""What Python raises where a value is missing or of another type."""
ADDRESS = re.compile(r"^(https?|hf|s3|gs):/+")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of numbers that become weights without a loss that matters."""
MOST_PROBLEMS = 6
"""How many problems of a file an error lists; the others are counted."""


class CheckpointError(UserError):
    """Weights that cannot be loaded: which file, what is in it and what was expected."""


def as_checkpoint_error(
    read: Callable[Concatenate[str | Path, Rest], Result],
) -> Callable[Concatenate[str | Path, Rest], Result]:
    """Decorator: what a damaged file makes go wrong becomes a CheckpointError of its source."""

    @wraps(read)
    def checked(source: str | Path, *rest: Rest.args, **named: Rest.kwargs) -> Result:
        signature(read).bind(source, *rest, **named)  # a wrong call is no damage of the file
        with damage_as_error(source, CheckpointError):
            return read(source, *rest, **named)

    return checked


def check_exists(source: str | Path) -> Path:
    """The source as a path; `demo` is the file in the package, and a stage's folder stands for its export.

    What is no path but may be a name on Hugging Face's hub, `owner/name`, is fetched into its cache. Raises
    CheckpointError if there is none.
    """
    check_given(source)
    if is_box(source):
        return existing_box()
    if name := hub_name(source):
        return from_hub(name)
    path = Path(os.path.expanduser(source))
    if not os.path.exists(path):  # also where the system refuses to look
        shown = shown_source(source)
        raise CheckpointError(
            f"{shown} does not exist; give a stage's model.safetensors, a .pt file of Meta's, "
            f"a Hugging Face directory, or {BOX} for the weights in the package{download_of(shown)}"
        )
    if not (path.is_file() or path.is_dir()):
        raise CheckpointError(f"{source} is a device or a pipe; copy the weights into a file and give that")
    return export_in(path)


def check_given(source: str | Path) -> None:
    """Raise CheckpointError for an empty name, which a Path would take as the current folder."""
    if not str(source).strip():
        raise CheckpointError("the name of a source of weights is empty; give a file, a folder or a name")


def shown_source(source: str | Path) -> str:
    """A source as it was given: of the two slashes of an address a Path makes one."""
    return ADDRESS.sub(r"\1://", str(source))


def existing_box() -> Path:
    """The weights in the package. Raises CheckpointError if they were left out of this copy."""
    path = box_path()
    if not path.is_file():
        raise CheckpointError(
            f"{BOX} names the weights in the package, but this copy of vjepa holds none; train your own "
            "with `make demo`, or give another source"
        )
    return path


def from_hub(name: HubName) -> Path:
    """The folder, or the one file, of a model on the hub. Raises CheckpointError if it cannot be had."""
    if find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"{name} does not exist here; if it is a model on Hugging Face's hub, fetching it takes the "
            "package huggingface_hub (pip install 'vjepa[hf]')"
        )
    # Imported here, because it needs that package, and this module.
    from vjepa.weights.hub import fetched

    return fetched(name)


def is_downloaded(source: str | Path) -> bool:
    """Whether a source is the name of a model on the hub, and the hub's cache holds a whole copy of it."""
    name = hub_name(source)
    if name is None or find_spec("huggingface_hub") is None:
        return False
    from vjepa.weights.hub import kept_copy

    return kept_copy(name) is not None


def export_in(path: Path) -> Path:
    """The export in the folder of a stage, or of a run with a single export; any other path as it is."""
    recipes = [*path.glob("config.yaml"), *path.glob("*/config.yaml")] if path.is_dir() else []
    exports = [file for recipe in recipes if (file := recipe.with_name("model.safetensors")).is_file()]
    return exports[0] if len(exports) == 1 else path


def download_of(source: str) -> str:
    """How to fetch an address, or a file that Meta has published, as the end of a sentence."""
    if ADDRESS.match(source):
        return "; addresses are not downloaded here, so fetch the file first (curl -fLO ADDRESS)"
    known = released_file(source)
    if known:
        return f"; it is published at {known.address}, so fetch it first (curl -fLO ADDRESS)"
    if re.fullmatch(r"facebook/vjepa2[\w.@/-]*", source):  # a folder of the publisher's name is here
        return f"; for the model of this name on Hugging Face's hub give hf://{source}"
    return ""


def load_strictly(module: Module, state: State, source: Path) -> Module:
    """`module` with all of `state` and nothing else loaded.

    Raises CheckpointError that lists missing, surplus and misshaped tensors; `source` is named in it.
    """
    check_fits(module, state, source)
    fill(module, state, source)
    return module


def check_fits(module: nn.Module, state: State, source: Path) -> None:
    """Raise CheckpointError unless names, shapes and types of the tensors are those of the module."""
    # Compared here, because torch's own error names every tensor and not the file.
    expected = module.state_dict()
    problems = [f"missing {key}" for key in expected if key not in state]
    problems += [f"surplus {str(key)[:80]}" for key in state if key not in expected]
    for key, value in expected.items():
        if key in state and not isinstance(state[key], Tensor):
            problems.append(f"{key} is a {type(state[key]).__name__}, expected a tensor")
        elif key in state and state[key].shape != value.shape:
            problems.append(f"{key} is {tuple(state[key].shape)}, expected {tuple(value.shape)}")
        elif key in state and state[key].dtype not in FLOATS:
            problems.append(f"{key} holds {str(state[key].dtype)[6:]} (quantised?), expected floats")
    if problems:
        listed = "; ".join(problems[:MOST_PROBLEMS])
        more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise CheckpointError(f"{source} does not fit the {type(module).__name__}: {listed}{more}")


def fill(module: nn.Module, state: State, source: Path) -> None:
    """Copy the tensors into the module. Raises CheckpointError for one that is not finite."""
    for key, value in module.state_dict().items():
        # In the module's type, in which a large number may be infinite.
        if not state[key].to(value.dtype).isfinite().all():
            raise CheckpointError(
                f"{source} holds numbers that are NaN or infinite, first in {key}; its training has failed"
            )
    module.load_state_dict(state, strict=True)


def digest(path: Path) -> str:
    """The first twelve hexadecimal digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def weights_digest(network: nn.Module) -> str:
    """The first twelve hexadecimal digits of a SHA-256 of all weights.

    The digest depends on names and values alone, so it does not change when the network's file moves.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        # As bytes, because NumPy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def check_same_encoder(encoder: nn.Module, expected: str | None, what: str) -> None:
    """Raise CheckpointError unless these are the weights that `what` (its file) was trained on the tokens of.

    expected: Their digest, as the file says; None if it does not say.
    """
    # Another encoder of the same shape would give answers that mean nothing, without an error.
    if expected is None:
        return
    given = weights_digest(encoder)
    if given != expected:
        raise CheckpointError(
            f"{what} was trained on the tokens of another encoder (digest {expected}) than the one given "
            f"({given}); give the encoder that its stage was run with, or train that stage on this one"
        )

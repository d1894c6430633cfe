"""What all weights files need: an error, strict loading, digests, and unpickling that runs no code."""

import hashlib
import os
import re
import warnings
import zipfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from vjepa.errors import UserError, damage_as_error
from vjepa.weights.box import BOX, box_path, is_box

State = dict[str, Tensor]
"""The tensors of a network by name, as `state_dict` gives them."""
Module = TypeVar("Module", bound=nn.Module)
Rest = ParamSpec("Rest")
Result = TypeVar("Result")
DAMAGES = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""What Python raises where a value is missing or of another type."""
ADDRESS = re.compile(r"^(https?|hf|s3|gs):/+")
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
        with damage_as_error(source, CheckpointError):
            return read(source, *rest, **named)

    return checked


def check_exists(source: str | Path) -> Path:
    """The source as a path; `demo` is the file in the package, and a stage's folder stands for its export.

    Raises CheckpointError if there is none.
    """
    if is_box(source):
        path = box_path()
        if not path.is_file():
            raise CheckpointError(
                f"{BOX} names the weights in the package, but this copy of vjepa holds none; train your own "
                "with `make demo`, or give another source"
            )
        return path
    path = Path(os.path.expanduser(source))
    if not os.path.exists(path):  # also where the system refuses to look
        shown = ADDRESS.sub(r"\1://", str(source))  # a Path makes one slash of two
        raise CheckpointError(
            f"{shown} does not exist; give a stage's model.safetensors, a .pt file of Meta's, "
            f"a Hugging Face directory, or {BOX} for the weights in the package{download_of(shown)}"
        )
    if not (path.is_file() or path.is_dir()):
        raise CheckpointError(f"{source} is a device or a pipe; copy the weights into a file and give that")
    return export_in(path)


def export_in(path: Path) -> Path:
    """The export in the folder of a stage, or of a run with a single export; any other path as it is."""
    recipes = [*path.glob("config.yaml"), *path.glob("*/config.yaml")] if path.is_dir() else []
    exports = [file for recipe in recipes if (file := recipe.with_name("model.safetensors")).is_file()]
    return exports[0] if len(exports) == 1 else path


def download_of(source: str) -> str:
    """How to fetch an address or a name on Hugging Face's hub, as the end of a sentence."""
    if ADDRESS.match(source):
        return "; nothing here downloads, so fetch the file first (curl -fLO ADDRESS)"
    if re.fullmatch(r"facebook/vjepa2[\w.-]*", source):
        return f"; nothing here downloads, so fetch it first (hf download {source} --local-dir {source[9:]})"
    return ""


def load_strictly(module: Module, state: State, source: Path) -> Module:
    """`module` with all of `state` and nothing else loaded.

    Raises CheckpointError that lists missing, surplus and misshaped tensors; `source` is named in it.
    """
    # Compared here first, because torch's own error names every tensor and not the file.
    expected = module.state_dict()
    problems = [f"missing {key}" for key in expected if key not in state]
    problems += [f"surplus {key}" for key in state if key not in expected]
    for key, value in expected.items():
        if key in state and state[key].shape != value.shape:
            problems.append(f"{key} is {tuple(state[key].shape)}, expected {tuple(value.shape)}")
        elif key in state and value.is_floating_point() and not state[key].is_floating_point():
            problems.append(f"{key} holds {str(state[key].dtype)[6:]} (quantised?), expected floats")
    if problems:
        listed = "; ".join(problems[:MOST_PROBLEMS])
        more = f"; and {len(problems) - MOST_PROBLEMS} more" if len(problems) > MOST_PROBLEMS else ""
        raise CheckpointError(f"{source} does not fit the {type(module).__name__}: {listed}{more}")
    if any(value.is_meta for value in expected.values()):
        return module  # a network without numbers, which asks only whether these would fit
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{source} holds numbers that are NaN or infinite, first in {broken[0]}; its training has failed"
        )
    module.load_state_dict(state, strict=True)
    return module


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


class Unread:
    """Stands for a NumPy value in a pickle, such as a loss. No network needs it, and none is built."""

    def __init__(self, *content: object) -> None:
        pass

    def __setstate__(self, content: object) -> None:
        pass


NUMPY = (
    "dtype",
    "ndarray",
    *(f"{core}.multiarray.{f}" for core in ("core", "_core") for f in ("scalar", "_reconstruct")),
)
"""What builds NumPy's values in a pickle, in versions 1 and 2 of it."""


def read_pickle(path: Path) -> dict:
    """A torch file of plain values and tensors: Lightning's `.ckpt` or Meta's `.pt`. Code in it is never run.

    Raises CheckpointError for a file that holds anything else.
    """
    try:
        # With the file mapped into memory, unused tensors are not read. Old files, which are no zip archives,
        # cannot be mapped. Torch gives a path that ends so to another reader, but not an open file.
        mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"
        # Warnings are of a strange pickle, before the error says the same.
        plain = torch.serialization.safe_globals([(Unread, f"numpy.{name}") for name in NUMPY])
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file, plain:
            checkpoint = torch.load(
                path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped
            )
    except Exception as error:  # a broken pickle or archive makes torch raise errors of any kind
        # Not torch's own text, which recommends to load the file in a way that runs its code.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"holds Python code ({named[1]})" if named else "is cut off, of another kind, or holds code"
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint of tensors: it {why}; give a file of tensors alone"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path} holds a {type(checkpoint).__name__}, expected a dictionary of networks"
        )
    return checkpoint

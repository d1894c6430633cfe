"""Tensors that stay in their file until they are read, one at a time, and files that are written so.

    tensors = stored_in(Path("model.safetensors"))
    write_tensors(Path("copy.safetensors"), tensors, {"format": "pt"})

A network of any size passes through the memory of its largest tensor.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from vjepa.weights.files import State

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Types of numbers, as safetensors files call them."""


class StoredTensor(NamedTuple):
    """A tensor in a file."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    """Gives the numbers. They are read anew at each call."""

    @property
    def size(self) -> int:
        """Bytes."""
        return prod(self.shape) * self.dtype.itemsize


StoredState = dict[str, StoredTensor]
"""The tensors of a network by name."""


def stored_of(state: State) -> StoredState:
    """The same for tensors that torch has mapped from a file, or holds in memory."""
    plain = {key: value.detach() for key, value in state.items()}  # of a parameter, torch warns later on
    return {
        key: StoredTensor(tuple(value.shape), value.dtype, lambda v=value: v) for key, value in plain.items()
    }


def stored_in(path: Path) -> StoredState:
    """The tensors of a safetensors file, of which the header alone is read."""
    with safe_open(path, framework="pt", device="cpu") as file:
        found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    return {
        key: StoredTensor(tuple(value.shape), value.dtype, partial(read_tensor, path, key))
        for key, value in found.items()
    }


def read_tensor(path: Path, key: str) -> Tensor:
    """One tensor of a safetensors file."""
    # Opened anew for each, since what is read through one mapping stays in memory until that is closed.
    with safe_open(path, framework="pt", device="cpu") as file:
        return file.get_tensor(key)


def empty_state(tensors: Mapping[str, StoredTensor]) -> State:
    """The same names and shapes as tensors without numbers, for what looks at shapes alone."""
    return {
        key: torch.empty(stored.shape, dtype=stored.dtype, device="meta") for key, stored in tensors.items()
    }


def bytes_of_tensor(value: Tensor) -> np.ndarray:
    """The numbers of a tensor, row by row, as bytes."""
    # As bytes, because NumPy has no bfloat16.
    return value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def stored_digest(tensors: Mapping[str, StoredTensor]) -> str:
    """What `weights_digest` says of the network that holds these tensors in float32."""
    digest = hashlib.sha256()
    for name, stored in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(bytes_of_tensor(stored.read().float()))
    return digest.hexdigest()[:12]


def write_tensors(path: Path, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, tensor by tensor."""
    # Wide numbers first, so that every tensor begins where its type may begin.
    ordered = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header = json.dumps(header_of({name: tensors[name] for name in ordered}, metadata)).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in ordered:
            file.write(bytes_of_tensor(tensors[name].read()))


def header_of(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> dict[str, object]:
    """Where the tensors are in a safetensors file, in which they follow one another in this order."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name, stored in tensors.items():
        place = [end, end + stored.size]
        header[name] = {
            "dtype": DTYPES[stored.dtype],
            "shape": list(stored.shape),
            "data_offsets": place,
        }
        end = place[1]
    return header

"""Files of torch: plain values and tensors, read without running code and without believing what they claim.

    checkpoint = read_pickle(Path("vitl.pt"))

A pickle is a program for a small machine. Torch lets it call few functions, but some of those can fill the
memory, and a few bytes can name one value many times over. So it is looked through before it is run.
"""

import mmap
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from vjepa.errors import is_out_of_memory
from vjepa.weights.family import tensors_of
from vjepa.weights.file_kind import check_kind
from vjepa.weights.files import CheckpointError, State


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
FILLING = re.compile(
    r"(__builtin__|builtins) bytearray|torch(\.\w+)* \w*Tensor|torch\._utils _rebuild_(?!tensor|param)\w+"
)
"""Functions that torch would call for a pickle, and that make bytes or tensors which are not in the file."""
GROWING = re.compile(r"(hex|base_?64|uu|quopri|quoted_?printable)(_codec)?", re.IGNORECASE)
"""Encodings whose result is longer, time and again. Pickles of bytes name latin1."""
MOST_VALUES = 10**6
"""Values in a tuple, each counted as often as it is reached: to compare tuples takes as long."""


def read_pickle(path: Path) -> dict:
    """A torch file of plain values and tensors: Lightning's `.ckpt` or Meta's `.pt`. Code in it is never run.

    Raises CheckpointError for a file that holds anything else.
    """
    check_kind(path)
    try:
        # With the file mapped into memory, unused tensors are not read. Old files, which are no zip archives,
        # cannot be mapped. Torch gives a path that ends so to another reader, but not an open file.
        mapped = zipfile.is_zipfile(path) and path.suffix != ".safetensors"
        for program in programs(path):
            check_program(program)
        # Warnings are of a strange pickle, before the error says the same.
        plain = torch.serialization.safe_globals([(Unread, f"numpy.{name}") for name in NUMPY])
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file, plain:
            checkpoint = torch.load(
                path if mapped else file, map_location="cpu", weights_only=True, mmap=mapped
            )
        check_tensors(tensors_of(checkpoint))
    except Exception as error:  # a broken pickle or archive makes torch raise errors of any kind
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint of tensors: it {reason(error)}; "
            "give a file of tensors alone"
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"{path} holds a {type(checkpoint).__name__}, expected a dictionary of networks"
        )
    return checkpoint


def reason(error: Exception) -> str:
    """Why a pickle cannot be read. Not torch's own text, which recommends to run the code in it."""
    if isinstance(error, CheckpointError):
        return str(error)
    if is_out_of_memory(error):
        return "names tensors that are larger than the memory"
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"holds Python code ({named[1][:80]})" if named else "is cut off, of another kind, or holds code"


def programs(path: Path) -> Iterator[Any]:
    """The pickles in a file of torch, to be read one after the other."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith("data.pkl"):
                    member.CRC = member.CRC or None  # 0: written without a checksum
                    yield archive.read(member)
        return
    # Older files are five pickles (a mark, a version, the machine, the content, the storages), then numbers.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield from [content] * 5


def check_program(program: Any) -> None:
    """Raise CheckpointError for a pickle that would fill the memory, or that names values without an end."""
    sizes: list[int] = []  # of what the machine's stack holds: how many values each of its values is
    marks: list[int] = []
    kept: dict[int, int] = {}
    texts: set[str] = set()
    for operation, argument, _ in pickletools.genops(program):
        name = operation.name
        if isinstance(argument, str):
            texts.add(argument[:40])
            require_plain(not FILLING.fullmatch(argument), f"holds a {argument[:80].replace(' ', '.')}")
        if name == "MARK":
            marks.append(len(sizes))
        elif name in ("BINPUT", "LONG_BINPUT"):
            kept[argument] = sizes[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            sizes.append(kept[argument])
        else:
            # Taken are so many from the top of the stack, or all above the mark and some below it.
            before, marked = taken_by(operation)
            first = (marks.pop() if marked else len(sizes)) - before
            held = sum(sizes[first:]) if name.startswith("TUPLE") else 0
            require_plain(held < MOST_VALUES, "names values within values without an end")
            sizes[first:] = [1 + held] * len(operation.stack_after)
    growing = any(GROWING.fullmatch(re.sub(r"\W+", "_", text)) for text in texts)
    require_plain(not (growing and "_codecs encode" in texts), "encodes bytes time and again")


@cache
def taken_by(operation: pickletools.OpcodeInfo) -> tuple[int, bool]:
    """How many values it takes from the top of the stack, or from below the last mark; whether it has one."""
    before = operation.stack_before
    marked = pickletools.markobject in before
    return before.index(pickletools.markobject) if marked else len(before), marked


def check_tensors(tensors: State) -> None:
    """Raise CheckpointError for a tensor that is not dense, or that names numbers which it does not hold."""
    for name, value in tensors.items():
        kind = f"{value.layout}{' quantised' if value.is_quantized else ''} on {value.device}"
        require_plain(kind == "torch.strided on cpu", f"holds a tensor {name[:80]} that is {kind}")
        held = value.untyped_storage().nbytes()
        require_plain(
            value.numel() * value.element_size() <= held,
            f"claims {value.numel():,} numbers for the tensor {name[:80]} and holds {held:,} bytes of them",
        )


def require_plain(condition: bool, why: str) -> None:
    """Raise CheckpointError with the end of a sentence unless the condition holds."""
    if not condition:
        raise CheckpointError(why)

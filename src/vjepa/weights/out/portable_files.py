"""Files for programs that lack this package: ONNX, and programs of torch.export.

    write_model(network, Path("encoder.onnx"), None, {"frames": 16, "size": 256, "output": "tokens"})
    run = opened(Path("encoder.onnx"))       # clips -> what the network gives

The ending of a file decides which of the two it is.
"""

import io
import json
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import UserError, counted, require

KINDS = {".onnx": "ONNX", ".pt2": "a program of torch.export"}
"""Ending of a file -> what is written."""
WRITERS = ("onnx", "onnxscript")
"""Packages without which torch writes no ONNX; running it takes onnxruntime alone."""
INSTALL = "pip install 'vjepa[onnx]'"
KEY = "vjepa"
"""Name of the facts (JSON): in ONNX's `metadata_props`, and with the ending .json in a .pt2's extra files."""
LARGEST_ERROR = 1e-3
"""Difference, as a share of the largest output, that rounding alone does not make."""
ADVICE = "try other versions of onnx, onnxscript and onnxruntime"
REPEATS = 3
"""Timed runs of each side."""

Run = Callable[[Float[Tensor, "b c t h w"]], Float[Tensor, "b *rest"]]


def kind_of(out: Path) -> str:
    """The ending of a file to write. Raises UserError for one that is not in KINDS."""
    ending = f"the ending {out.suffix}" if out.suffix else "no ending"
    known = " or ".join(f"{end} for {what}" for end, what in KINDS.items())
    require(out.suffix in KINDS, f"{out} has {ending}; give {known}")
    return out.suffix


def check_packages(kind: str) -> None:
    """Raise UserError if the packages that write such a file are not installed."""
    missing = [name for name in WRITERS if kind == ".onnx" and find_spec(name) is None]
    require(not missing, f"ONNX needs {' and '.join(missing)}; {INSTALL}")


def write_model(network: nn.Module, path: Path, batch: int | None, facts: Mapping[str, Any]) -> None:
    """Write a frozen network that takes normalised clips.

    batch: Clips that it takes at once; None for any number.
    facts: Values that JSON has, kept in the file; among them frames, size, and `output`, a name.
    """
    # Two clips stand for any number; of one, torch would take it that there is always one.
    clip = torch.zeros(clip_shape(batch or 2, facts))
    sizes = None if batch else ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # torch warns of calls of its own
        program = torch.export.export(network, (clip,), dynamic_shapes=sizes)
        if path.suffix == ".onnx":
            write_onnx(program, path, facts)
        else:
            # Into memory, since torch ends the process where it cannot write.
            content = io.BytesIO()
            torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(facts)})
            path.write_bytes(content.getbuffer())


def clip_shape(batch: int, facts: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """Shape `b c t h w` of a batch of clips."""
    return batch, 3, facts["frames"], facts["size"], facts["size"]


def write_onnx(program: torch.export.ExportedProgram, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a program as ONNX. Numbers of more than 2 GB lie beside it, in a file that ends in `.data`."""
    names = {"input_names": ["clip"], "output_names": [facts["output"]]}
    converted = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
    converted.model.metadata_props[KEY] = json.dumps(facts)
    converted.save(path)


def opened(path: Path) -> Run | None:
    """What runs a file on the CPU, with as many threads as torch; None if onnxruntime is not installed."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    if find_spec("onnxruntime") is None:
        return None
    import onnxruntime  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda clip: torch.from_numpy(session.run(None, {"clip": clip.numpy()})[0])


@torch.no_grad()
def comparison(network: nn.Module, path: Path, batch: int, facts: Mapping[str, Any]) -> str:
    """How much a file and its network differ on a batch of random clips, and how fast they are, in words.

    Raises UserError if the file gives other numbers.
    """
    run = opened(path)
    if run is None:
        return f"not compared with ours, which needs onnxruntime; {INSTALL}"
    clip = torch.randn(clip_shape(batch, facts), generator=torch.Generator().manual_seed(0))
    difference = largest_difference(run(clip), network(clip), path.name)
    seconds, own = alternating_seconds(run, network, clip)
    threads = counted(torch.get_num_threads(), "thread")
    speed = f"{seconds:.3g} s a run, ours {own:.3g} s ({threads} of the CPU)"
    return f"largest difference from ours {difference:.1e}; {speed}"


def largest_difference(theirs: Float[Tensor, "b *rest"], ours: Float[Tensor, "b *rest"], name: str) -> float:
    """The largest difference of two outputs. Raises UserError if rounding alone does not make it."""
    difference = (theirs - ours).abs().max().item()
    if not difference <= LARGEST_ERROR * max(1.0, ours.abs().max().item()):  # also for NaN
        raise UserError(f"{name} differs from ours by {difference:.2g}, so it is not kept; {ADVICE}")
    return difference


def alternating_seconds(first: Run, second: Run, clip: Float[Tensor, "b c t h w"]) -> tuple[float, float]:
    """Median seconds of two functions, run in turn so that other work of the machine slows both alike."""
    seconds: dict[Run, list[float]] = {first: [], second: []}
    for _ in range(REPEATS):
        for run in seconds:
            start = time.perf_counter()
            run(clip)
            seconds[run].append(time.perf_counter() - start)
    return median(seconds[first]), median(seconds[second])

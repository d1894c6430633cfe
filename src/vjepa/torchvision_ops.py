"""Lets `import torchvision` work beside a CPU-only torch.

Package registries carry torchvision builds whose compiled operators link CUDA. Beside a CPU-only torch that
library cannot be loaded, and `import torchvision` stops at "operator torchvision::nms does not exist", since
its Python half attaches shape rules to operators that nobody declared. This project uses torchvision's
transforms and losses and never these operators, so declaring their two schemas is enough. Where the compiled
operators load, nothing is declared.

This module must run before the first `import torchvision` of a process, which lightning and torchmetrics make
too. The rooms that need any of them import it in their `__init__`.
"""

import importlib.util
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def compiled_operators_load() -> bool:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # not installed: its own ImportError says it better
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def declare_missing_operators() -> torch.library.Library | None:
    if compiled_operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for schema in SCHEMAS:
        library.define(schema)
    return library


LIBRARY = declare_missing_operators()  # the declaration lives as long as this object

"""The command `weights info`: what a file of weights holds.

    vjepa weights info demo runs/demo/ac/model.safetensors

Only headers are read, so it takes no time for files of any size. What is told can be loaded, unless its
numbers are damaged: that shows when they are read.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from vjepa.weights.build import ShapesAlone
from vjepa.weights.card import Card, read_card
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import (
    load_ac_predictor,
    load_anticipation,
    load_encoder,
    load_policy,
    load_predictor,
    load_probe,
    load_state_reader,
)
from vjepa.weights.load_decoder import load_decoder

PartLoader = Callable[..., object]
LOADERS: dict[str, PartLoader] = {
    "ema": load_encoder,
    "student": partial(load_encoder, weights="student"),
    "predictor": load_predictor,
    "probe": partial(load_probe, head=0),  # of several classifiers, which have one shape
    "ac_predictor": load_ac_predictor,
    "policy": load_policy,
    "state_reader": load_state_reader,
    "decoder": load_decoder,
    "anticipation": load_anticipation,
}


def info(files: list[Path]) -> None:
    """Print the card of each file: its networks, what they were trained on, and their scores.

    For a file that cannot be loaded, one line says what it is; the exit status is then 2.

    Args:
        files: Stages' exports, files of Meta's, Hugging Face directories, names on its hub, or `demo`.
    """
    told = [card_or_error(file) for file in files]
    print("\n\n".join(map(str, told)))
    if any(isinstance(card, Exception) for card in told):
        raise SystemExit(2)


def card_or_error(file: Path) -> Card | Exception:
    """What a file holds, or the error that says why it cannot be loaded."""
    try:
        return loadable(read_card(file), file)
    except (CheckpointError, OSError) as error:
        return error


def loadable(card: Card, file: Path) -> Card:
    """The card of the parts that can be loaded; notes say why others cannot.

    Raises CheckpointError if none can.
    """
    errors = {part: error for part in card.parts if (error := load_error(file, part))}
    if errors and len(errors) == len(card.parts):
        raise next(iter(errors.values()))
    notes = [f"{part} cannot be loaded: {error}" for part, error in errors.items()]
    parts = tuple(part for part in card.parts if part not in errors)
    return replace(card, parts=parts, notes=(*card.notes, *notes))


def load_error(file: Path, part: str) -> CheckpointError | None:
    """Why a part cannot be loaded, from the names, types and shapes of its tensors; None if it can."""
    try:
        with torch.device("meta"), ShapesAlone():
            LOADERS.get(part, read_card)(file)  # a projector is loaded with its language model
    except CheckpointError as error:
        return error
    return None

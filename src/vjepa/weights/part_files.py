"""Which file holds which part: of one source of weights, or of all stages of a run.

    part_files("runs/demo")      # {"ema": "runs/demo/cooldown/model.safetensors", "probe": ...}

A run's controls, which were trained on an untrained encoder, are left out.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from vjepa.weights.box import is_box
from vjepa.weights.card import read_card
from vjepa.weights.export import part_description
from vjepa.weights.files import as_checkpoint_error, check_given, is_downloaded
from vjepa.weights.source import is_export

FIRST_CHOICE = ("cooldown", "vlm")
"""Stages of a run whose parts are taken, where several hold the same."""


@as_checkpoint_error
def part_files(source: str | Path) -> dict[str, str]:
    """Part -> the file that holds it. Raises CheckpointError if there is no such source."""
    check_given(source)
    files = stage_exports(Path(os.path.expanduser(source)))
    if not files:
        return dict.fromkeys(read_card(source).parts, str(source))
    # The preferred stages come last, and replace what others hold.
    ordered = sorted(files, key=lambda file: file.parent.name in FIRST_CHOICE)
    return {part: str(file) for file in ordered for part in read_card(file).parts}


def stage_exports(folder: Path) -> list[Path]:
    """The exports in the folder of a stage, or in those of a run's stages; none for any other source."""
    files = [folder / "model.safetensors", *sorted(folder.glob("*/model.safetensors"))]
    # Beside a config.json lies a model of Hugging Face's: an encoder, or the demo's language model.
    ours = [file for file in files if file.exists() and not (file.parent / "config.json").exists()]
    return [file for file in ours if "untrained" not in file.parent.name]


def encoder_of(files: Mapping[str, str]) -> str | None:
    """Where the encoder was whose tokens a probe, a predictor or a projector reads, if it is still there."""
    for part in ("probe", "ac_predictor", "projector"):
        if part in files and is_export(files[part]):
            named = encoder_named(files[part], part)
            if named and is_there(named):
                return named
    return None


@as_checkpoint_error
def encoder_named(file: str | Path, part: str) -> str | None:
    """The place of the encoder whose tokens a part of an export reads, if the file says so."""
    known = part_description(file, part)
    places = (known.get("encoder_source"), known.get("schema", {}).get("encoder"))
    # A projector's `encoder` names its source; that of a predictor is a config.
    named = next(filter(None, places), None) or known.get("encoder", {}).get("source")
    return str(named) if named else None


def is_there(source: str | Path) -> bool:
    """Whether a source that a file names is still there; `demo` is in the package.

    A file does not decide what is downloaded, so of the hub's models only those in its cache are there.
    """
    return is_box(source) or os.path.exists(os.path.expanduser(source)) or is_downloaded(source)

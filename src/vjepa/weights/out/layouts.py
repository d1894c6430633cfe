"""Which parts of a source a layout holds, and why not the others; and what its files are called.

parts, left = choose("hf", {"ema": "demo", "policy": "demo"}, ())
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

from vjepa.errors import counted, require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.predictor import PredictorConfig
from vjepa.weights.files import CheckpointError
from vjepa.weights.out.hf_folder import why_not_encoder, why_not_predictor, why_not_probe
from vjepa.weights.out.meta_file import NAMES
from vjepa.weights.out.open_parts import ENCODERS, OpenPart, Unsaid, classifiers_in, open_part
from vjepa.weights.out.places import check_named, check_not_read
from vjepa.weights.probe_schema import known_schema
from vjepa.weights.settings import settings

LayoutName = Literal["hf", "meta", "vjepa"]
"""A directory of transformers', a file of Meta's, an export of ours."""
ENDINGS = {"meta": (".pt", ".pth", ".pth.tar"), "vjepa": (".safetensors",)}
"""Layout -> endings of its files."""
OWNERS = {"hf": "transformers' VJEPA2", "meta": "a file of Meta's"}


def check_place(to: LayoutName, out: Path, sources: Sequence[Path]) -> None:
    """Raise UserError unless `out` is a place where such a file or folder may be written."""
    check_named(out)
    check_not_read(out, sources)
    endings = ENDINGS.get(to, ())
    if not endings:
        is_file = out.is_file() or out.name.endswith((".safetensors", *ENDINGS["meta"]))
        require(not is_file, f"{out} is a file's name, and --to hf writes a folder; name a folder")
        require(not out.is_symlink(), f"{out} is a link; give the folder that it names")
        taken = out.is_dir() and any(out.iterdir())
        require(not taken, f"{out} is a folder with something in it; name a new one")
        return
    require(not out.is_dir(), f"{out} is a folder, and --to {to} writes a file; name a file in it")
    named = out.name.endswith(endings)
    require(named, f"{out} does not end in {' or '.join(endings)}, as files of --to {to} do")


def choose(
    to: LayoutName, where: Mapping[str, Path], asked: Collection[str], unsaid: Unsaid
) -> tuple[dict[str, OpenPart], dict[str, str]]:
    """The parts that the layout holds, opened, and why others are left out.

    where: Part -> its source. asked: Parts that may not be left out. unsaid: What the user adds to files.
    Raises UserError for a part that was asked for and is left out, and if none is left.
    """
    left = left_by_name(to, where)
    parts = {part: open_part(source, part, unsaid) for part, source in where.items() if part not in left}
    left |= left_by_settings(parts) if to == "hf" else {}
    refused = next((part for part in asked if part in left), None)
    require(
        refused is None,
        f"{where.get(refused or '')}: no {refused} can be written, as {left.get(refused or '')}",
    )
    kept = {part: opened for part, opened in parts.items() if part not in left}
    require(bool(kept), f"nothing is left to write: {reasons_text(left)}")
    return kept, left | (left_classifiers(where["probe"], unsaid.head or 0) if "probe" in kept else {})


def left_classifiers(probe: Path, head: int) -> dict[str, str]:
    """The same of the classifiers of a file of Meta's beside the one that is written, if there are any."""
    count = classifiers_in(probe)
    why = f"of numbers 0 to {count - 1}, {head} is written; --unsaid.head gives another"
    return {counted(count - 1, "other classifier"): why} if count > 1 else {}


def left_by_name(to: LayoutName, where: Mapping[str, Path]) -> dict[str, str]:
    """Part -> why the layout does not hold it, as far as names tell."""
    if to == "vjepa":
        return {}
    held = NAMES if to == "meta" else (*ENCODERS, "predictor", "probe")
    left = {part: f"{OWNERS[to]} has none" for part in where if part not in held}
    if to == "meta" and {"predictor", "ac_predictor"} <= where.keys():
        left["ac_predictor"] = "such a file holds one predictor; for this one give --parts ema ac_predictor"
    if to == "hf":
        encoder = encoder_for(where)
        others = [part for part in ENCODERS if part in where and part != encoder]
        why = "such a directory holds one encoder; for this one give --parts"
        left |= {part: f"{why} {part}" for part in others}
    return left


def encoder_for(where: Mapping[str, Path]) -> str:
    """The encoder that a directory takes: the one that the probe reads, else the averaged one.

    Raises CheckpointError if there is none.
    """
    there = [part for part in ENCODERS if part in where]
    if not there:
        raise CheckpointError(
            f"there is {' and '.join(where)} and no encoder in {next(iter(where.values()))}, with which a "
            "directory of transformers' begins; give the encoder first, and a probe as --probe"
        )
    probe = where.get("probe")
    schema = known_schema(probe) if probe else {}
    return schema["weights"] if schema.get("weights") in there else there[0]


def left_by_settings(parts: Mapping[str, OpenPart]) -> dict[str, str]:
    """Part -> why transformers' networks cannot compute what it does.

    Raises CheckpointError for an encoder, without which nothing can be written.
    """
    name = next(part for part in ENCODERS if part in parts)
    encoder = settings(EncoderConfig, parts[name].description)
    if why := why_not_encoder(encoder):
        raise CheckpointError(why)
    reasons: dict[str, str | None] = {}
    if "predictor" in parts:
        config = settings(PredictorConfig, parts["predictor"].description["config"])
        reasons["predictor"] = why_not_predictor(config, encoder)
    if "probe" in parts:
        reasons["probe"] = why_not_probe(parts["probe"].description, encoder)
    return {part: why for part, why in reasons.items() if why}


def reasons_text(left: Mapping[str, str]) -> str:
    """What is left out, and why, as the end of a sentence."""
    return "; ".join(f"{part} ({why})" for part, why in left.items())

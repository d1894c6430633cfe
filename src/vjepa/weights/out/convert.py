"""The command that writes weights in another layout: transformers', Meta's, or that of our exports.

    vjepa weights convert demo --to hf --out demo-hf/
    vjepa weights convert vitl.pt --to vjepa --out vitl.safetensors

Numbers stay as they are, bit by bit, and pass through memory one tensor at a time. What a layout cannot hold
is left out by name, or refused if it was asked for.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vjepa.errors import check_positive, require
from vjepa.models.encoder import EncoderConfig
from vjepa.weights.card import PAPER_FPS, Card, parameters_text, read_card
from vjepa.weights.facts import ClipFacts, chosen
from vjepa.weights.family import Family
from vjepa.weights.files import CheckpointError, as_checkpoint_error
from vjepa.weights.meta import OWN
from vjepa.weights.out.hf_folder import write_hf
from vjepa.weights.out.last_level import last_level_alone
from vjepa.weights.out.layouts import LayoutName, check_place, choose, reasons_text
from vjepa.weights.out.meta_file import untold, write_meta
from vjepa.weights.out.model_card import model_card, notes_for
from vjepa.weights.out.open_parts import ENCODERS, OpenPart, Unsaid
from vjepa.weights.out.places import complete
from vjepa.weights.out.portable import SIZE
from vjepa.weights.out.stored import StoredTensor, stored_digest, write_tensors
from vjepa.weights.probe_schema import check_probe_of, clip_in
from vjepa.weights.settings import settings
from vjepa.weights.source import read_source

FRAMES = 64
"""Frames of a clip, for weights that do not say theirs; transformers' default."""


@dataclass(frozen=True)
class Conversion:
    """What is written, in whatever layout."""

    card: Card
    """Of the source."""
    parts: Mapping[str, OpenPart]
    info: Mapping[str, Any]
    """What an export says besides."""
    command: str
    """What was typed."""


def convert(
    weights: Path,
    *,
    to: LayoutName,
    out: Path,
    probe: Path | None = None,
    parts: tuple[str, ...] | None = None,
    frames: int | None = None,
    size: int | None = None,
    unsaid: Unsaid = Unsaid(),
) -> None:
    """Write weights as a directory for transformers, as a file of Meta's, or as an export.

    Args:
        weights: A stage's export, Meta's `.pt`, a Hugging Face directory, or `demo`.
        to: hf, a directory with config.json; meta, a .pt file; vjepa, an export (.safetensors).
        out: Folder (hf) or file to write.
        probe: Source of a probe that reads these weights, to be written with them.
        parts: Which networks, as `weights info` names them. Not given: all that the layout holds.
        frames: Frames of a clip, for hf. Not given: as the weights say.
        size: Height and width of a clip, pixels, for hf. Not given: as the weights say.
        unsaid: What a file of Meta's does not say, of networks that nobody has published.
    """
    check_positive(frames=frames, size=size)
    require(to == "hf" or not (frames or size), f"--frames and --size are for --to hf, and not for --to {to}")
    check_place(to, out, [weights, *([probe] if probe else [])])
    card = read_card(weights)
    where = part_places(card, weights, probe, parts)
    asked = [*(parts or ()), *(["probe"] if probe else [])]
    opened, left = choose(to, where, asked, unsaid)
    check_probe(opened, where)
    if to == "hf":
        opened, lower = last_level_alone(opened)
        left |= lower
    info = info_of(weights, card, probe)

    work = Conversion(card, opened, info, typed(weights, to, out, unsaid, probe, parts, frames, size))
    clip = clip_of(work, frames, size) if to == "hf" else None
    with complete(out) as unfinished:
        if clip:
            write_for_transformers(unfinished, work, clip)
        elif to == "meta":
            write_meta(unfinished, opened, info)
        else:
            write_export(unfinished, work)
    print("\n".join([written_line(out, work), *left_line(left), *others_line(to, opened)]))


def part_places(
    card: Card, weights: Path, probe: Path | None, parts: tuple[str, ...] | None
) -> dict[str, Path]:
    """Part -> its source, of those that are wanted. Raises CheckpointError for one that is not there."""
    where = dict.fromkeys(card.parts, weights)
    if probe:
        held = read_card(probe).parts
        if "probe" not in held:
            raise CheckpointError(
                f"{probe} holds {', '.join(held)} but no part named probe; give a probe's file"
            )
        where["probe"] = probe
    missing = [part for part in parts or () if part not in where]
    if missing:
        raise CheckpointError(
            f"{weights} holds {', '.join(card.parts)} but no part named {missing[0]}; give --parts of these"
        )
    wanted = [*parts, *(["probe"] if probe else [])] if parts else list(where)
    return {part: source for part, source in where.items() if part in wanted}


def check_probe(parts: Mapping[str, OpenPart], where: Mapping[str, Path]) -> None:
    """Raise CheckpointError for a probe that reads another encoder than the one beside it."""
    encoders = [part for part in ENCODERS if part in parts]
    if "probe" not in parts or not encoders:
        return
    schema = parts["probe"].description.get("schema", {})
    encoder = parts[schema["weights"] if schema.get("weights") in encoders else encoders[0]]
    check_probe_of(where["probe"], parts["probe"].description, settings(EncoderConfig, encoder.description))
    if where["probe"] == where[encoders[0]]:
        return
    given = stored_digest(encoder.tensors) if schema.get("encoder_digest") else None
    width = encoder.description["width"]
    if given != schema.get("encoder_digest") or parts["probe"].description["width"] != width:
        raise CheckpointError(
            f"{where['probe']} was trained on the tokens of another encoder than that in "
            f"{where[encoders[0]]}; give the encoder that its stage was run with"
        )


@as_checkpoint_error
def info_of(weights: str | Path, card: Card, probe: Path | None) -> dict[str, Any]:
    """What an export of these networks says besides: what the source's does, or what is known of it."""
    found = read_source(weights)
    own = found.content if found.family is Family.EXPORT else found.content.get(OWN)
    info = dict(own.get("info", {})) if isinstance(own, dict) else {}
    if not info:
        clip = asdict(card.clip) if card.clip else None
        notes = [*card.notes, f"converted from {Path(weights).name} ({card.family})"]
        info = {"clip": clip, "licence": card.licence, "notes": notes}
    # Those of the source are of its own probe.
    return info | ({"scores": dict(read_card(probe).scores)} if probe else {})


def clip_of(work: Conversion, frames: int | None, size: int | None) -> ClipFacts:
    """The clips that config.json names. Notes on stderr are those of `chosen`.

    Raises UserError if the encoder's tubelets do not divide them.
    """
    schema = work.parts["probe"].description.get("schema", {}) if "probe" in work.parts else {}
    known = clip_in(schema) or work.card.clip
    source = work.card.source
    frames = chosen(source, "frames", known and known.frames, frames, FRAMES)
    size = chosen(source, "size", known and known.size, size, SIZE)
    encoder = next(part.description for name, part in work.parts.items() if name in ENCODERS)
    config = settings(EncoderConfig, encoder)
    require(
        not (frames % config.tubelet or size % config.patch),
        f"a clip of {frames} frames of {size} px does not divide into tubelets of {config.tubelet} frames of "
        f"{config.patch} px; give other --frames or --size",
    )
    return ClipFacts(frames, known.fps if known else PAPER_FPS, size)


def write_for_transformers(folder: Path, work: Conversion, clip: ClipFacts) -> None:
    """Write a directory, whose one encoder has the name that readers of directories give it."""
    text = model_card(of_parts(work), list(work.parts), clip, work.command, notes_for(work.parts, clip))
    parts = {"ema" if name == "student" else name: part for name, part in work.parts.items()}
    # A probe, or the user, may want other clips than the encoder was trained on.
    known = {"clip": asdict(clip)} if work.info.get("clip") else {}
    write_hf(folder, parts, clip, {**work.info, **known}, text)


def write_export(path: Path, work: Conversion) -> None:
    """Write an export, as a stage does."""
    described = {name: part.description for name, part in work.parts.items()}
    tensors = {
        f"{name}.{key}": value for name, part in work.parts.items() for key, value in part.tensors.items()
    }
    write_tensors(path, tensors, {"vjepa": json.dumps({"parts": described, "info": work.info})})


def of_parts(work: Conversion) -> Card:
    """The card of what is written: not of an action-conditioned predictor of the source that is left out."""
    sizes = {name: numbers(list(part.tensors.values())) for name, part in work.parts.items()}
    scores = work.info.get("scores", {})
    # A directory has the last level alone.
    details = tuple(row for row in work.card.details if row[0] != "levels")
    card = replace(work.card, scores=scores, sizes=work.card.sizes | sizes, details=details)
    if "ac_predictor" in work.parts:
        return card
    kept = {name: value for name, value in scores.items() if not name.endswith(" ahead")}
    return replace(card, acting=None, scores=kept)


def typed(
    weights: Path, to: str, out: Path, unsaid: Unsaid, *others: Path | int | tuple[str, ...] | None
) -> str:
    """The command as it was typed. others: The values of its further options, None for those not given."""
    words = ["vjepa", "weights", "convert", weights, "--to", to, "--out", out]
    said = {f"--unsaid.{name}": value for name, value in vars(unsaid).items()}
    options = dict(zip(("--probe", "--parts", "--frames", "--size"), others, strict=True)) | said
    for name, value in options.items():
        if value is not None:
            words += [name, *(value if isinstance(value, tuple) else [value])]
    return shlex.join(map(str, words))


def written_line(out: Path, work: Conversion) -> str:
    """What was written."""
    stored = {name: list(part.tensors.values()) for name, part in work.parts.items()}
    counts = [f"{name} ({parameters_text(numbers(values))})" for name, values in stored.items()]
    size = sum(value.size for values in stored.values() for value in values)
    return f"{out}: {', '.join(counts)} of {work.card.name}, {size / 1e6:,.1f} MB"


def left_line(left: Mapping[str, str]) -> list[str]:
    """What was not."""
    return [f"left out: {reasons_text(left)}"] if left else []


def others_line(to: LayoutName, parts: Mapping[str, OpenPart]) -> list[str]:
    """What other programs must be told of what was written."""
    if to == "hf" and "predictor" not in parts:
        return ["transformers draws the missing predictor at random; call the model with skip_predictor=True"]
    hidden = untold(parts) if to == "meta" else []
    return (
        [f"other readers must be told what nothing in the file shows: {'; '.join(hidden)}"] if hidden else []
    )


def numbers(tensors: Sequence[StoredTensor]) -> int:
    """How many numbers tensors hold."""
    return sum(value.size // value.dtype.itemsize for value in tensors)

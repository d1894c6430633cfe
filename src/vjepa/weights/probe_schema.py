"""What a source says of its probe: layers, targets, names of classes, clips.

known_schema("runs/demo/probe/model.safetensors")["names"]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vjepa.errors import require
from vjepa.models.encoder import EncoderConfig
from vjepa.weights.export import part_description
from vjepa.weights.facts import ClipFacts, clip_facts
from vjepa.weights.family import Family
from vjepa.weights.files import as_checkpoint_error
from vjepa.weights.meta import own_part
from vjepa.weights.settings import settings
from vjepa.weights.source import read_source

TARGETS = {"multi_label_classification": "multilabel", "regression": "regression"}
"""What transformers calls targets of a classifier -> what a probe's schema does."""


@dataclass(frozen=True)
class ProbeSchema:
    """What this package reads of a schema, besides clips, and of which types. A schema may say more."""

    targets: Literal["classes", "multilabel", "regression"] = "classes"
    names: tuple[str, ...] = ()
    """Of the outputs, in their order."""
    layers: tuple[int, ...] = ()
    """Blocks of the encoder that the probe reads; none stands for the encoder's output."""
    weights: Literal["ema", "student"] = "ema"
    """Which of its source's encoders it reads."""
    encoder_digest: str | None = None


@as_checkpoint_error
def known_schema(source: str | Path) -> dict[str, Any]:
    """The schema of a probe as its stage wrote it, in whatever layout it is now; empty if nobody says it.

    Of a Hugging Face classifier that others wrote, the names of classes are known. Raises CheckpointError if
    the source does not exist, is an export without a probe, or says what no probe is.
    """
    found = read_source(source)
    of_export = found.family is Family.EXPORT
    own = part_description(found.path, "probe") if of_export else own_part(found, "probe")
    if own is not None and (of_export or "schema" in own):
        return checked_schema(own)
    foreign = hf_schema(found.content) if found.family is Family.HUGGING_FACE else {}
    return checked_schema({"schema": foreign})


def checked_schema(probe: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in a description of a probe, empty if there is none.

    Raises UserError for values of another type, impossible clips, names that stand twice, and another number
    of names than the probe has outputs.
    """
    schema = probe.get("schema", {})
    require(isinstance(schema, dict), f"the probe's schema is a {type(schema).__name__}; give another file")
    read = ProbeSchema.__dataclass_fields__
    names = settings(ProbeSchema, {key: schema[key] for key in read if key in schema}).names
    outputs = probe.get("classes", len(names))
    double = [name for name in names if names.count(name) > 1]
    require(not double, f"two of the probe's classes are called {double[:1]}; give another file")
    require(
        len(names) in (0, outputs),
        f"the probe has {outputs} outputs and {len(names)} names; its file is damaged",
    )
    clip_in(schema)
    return schema


@as_checkpoint_error
def check_probe_of(source: str | Path, probe: Mapping[str, Any], encoder: EncoderConfig) -> None:
    """Raise CheckpointError as `checked_schema`, and for a probe that reads layers that the encoder has not.

    probe: Its description; it comes from `source`.
    """
    layers = checked_schema(probe).get("layers", ())
    depth = encoder.depth
    blocks = encoder.levels or range(depth)  # where there are levels, no other block has a norm
    inside = {*blocks} | {block - depth for block in blocks}
    missing = [layer for layer in layers if layer not in inside]
    known = ", ".join(map(str, encoder.levels)) or f"0 to {depth - 1}"
    require(
        not missing,
        f"its probe reads the layers {missing}, and the encoder gives those of the blocks {known}; "
        "give the encoder that it was trained on",
    )


def hf_schema(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says of a classifier's classes; empty if it does not.

    Raises UserError unless its names stand by numbers from 0.
    """
    labels = config.get("id2label")
    if not labels:
        return {}
    require(isinstance(labels, dict), f"id2label is a {type(labels).__name__}; expected names by number")
    numbers = [str(number) for number in range(len(labels))]
    wrong = [key for key in labels if key not in numbers]
    require(not wrong, f"id2label has the key {wrong[:1]}; expected the numbers from 0 to {len(labels) - 1}")
    targets = TARGETS.get(str(config.get("problem_type")), "classes")
    return {"targets": targets, "names": [labels[number] for number in numbers]}


def clip_in(schema: Mapping[str, Any]) -> ClipFacts | None:
    """The clips that a probe was trained on, if its schema says it. Raises UserError for impossible ones."""
    known = schema.get("clip")
    if not known:
        return None
    require(isinstance(known, Mapping), f"the probe's clip is a {type(known).__name__}; give another file")
    return clip_facts({key: known[key] for key in ("frames", "fps", "size") if key in known})

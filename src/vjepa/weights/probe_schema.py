"""What a source says of its probe: layers, targets, names of classes, clips.

known_schema("runs/demo/probe/model.safetensors")["names"]
"""

from pathlib import Path
from typing import Any

from vjepa.weights.export import read_schema
from vjepa.weights.facts import ClipFacts, clip_facts
from vjepa.weights.family import Family
from vjepa.weights.files import as_checkpoint_error
from vjepa.weights.meta import own_part
from vjepa.weights.source import read_source


@as_checkpoint_error
def known_schema(source: str | Path) -> dict[str, Any]:
    """The schema of a probe as its stage wrote it, in whatever layout it is now; empty if nobody says it.

    Of a Hugging Face classifier that others wrote, the names of classes are known. Raises CheckpointError if
    the source does not exist, or is an export without a probe.
    """
    found = read_source(source)
    if found.family is Family.EXPORT:
        return read_schema(found.path, "probe")
    own = own_part(found, "probe")
    if own is not None and isinstance(own.get("schema"), dict):
        return own["schema"]
    names = found.content.get("id2label") if found.family is Family.HUGGING_FACE else None
    if not names:
        return {}
    if not isinstance(names, dict):
        raise ValueError(f"id2label is a {type(names).__name__}")
    return {"targets": "classes", "names": [names[key] for key in sorted(names, key=int)]}


def clip_in(schema: dict[str, Any]) -> ClipFacts | None:
    """The clips that a probe was trained on, if its schema says it. Raises UserError for impossible ones."""
    known = schema.get("clip")
    return clip_facts({key: known[key] for key in ("frames", "fps", "size")}) if known else None

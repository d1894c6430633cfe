"""An encoder with levels as one without, for programs whose encoder ends in a single norm.

    parts, left = last_level_alone(parts)

Only pretraining reads the lower levels, so tokens stay the same to the bit.
"""

from collections.abc import Mapping
from typing import Any

from vjepa.models.encoder import EncoderConfig
from vjepa.weights.out.open_parts import ENCODERS, OpenPart
from vjepa.weights.out.stored import StoredState, stored_digest
from vjepa.weights.settings import settings


def last_level_alone(parts: Mapping[str, OpenPart]) -> tuple[dict[str, OpenPart], dict[str, str]]:
    """The parts with the last level's norm as the encoder's final one, and why the others are left out.

    The schema of a probe beside the encoder gets the digest of what is written.
    """
    name = next(part for part in ENCODERS if part in parts)
    levels = settings(EncoderConfig, parts[name].description).levels
    if not levels:
        return dict(parts), {}
    tensors = final_norm_of_last(parts[name].tensors, len(levels))
    made = {**parts, name: OpenPart(parts[name].description | {"levels": []}, tensors)}
    if "probe" in parts:
        description = with_digest(parts["probe"].description, stored_digest(tensors))
        made["probe"] = OpenPart(description, parts["probe"].tensors)
    lower = ", ".join(map(str, levels[:-1]))
    why = "transformers' has the last one, which is what later stages read"
    return made, {f"levels {lower}": why} if lower else {}


def final_norm_of_last(tensors: StoredState, levels: int) -> StoredState:
    """An encoder's tensors with the norm of its last level under the name of a final norm."""
    last = f"norms.{levels - 1}."
    plain = {key: stored for key, stored in tensors.items() if not key.startswith("norms.")}
    norm = {key.replace(last, "norm."): value for key, value in tensors.items() if key.startswith(last)}
    return plain | norm


def with_digest(probe: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """The description of a probe whose schema names the encoder that it reads, if it names any."""
    schema = probe.get("schema", {})
    named = {"schema": {**schema, "encoder_digest": digest}} if schema.get("encoder_digest") else {}
    return {**probe, **named}

"""What is particular to the networks in a source of weights, as rows of its card; what else lies in the file.

meta_details(networks, content)     # [("rotary", "interleaved, ..."), ("levels", "blocks 5, 11, 17 and 23")]
"""

from collections.abc import Iterable, Mapping
from typing import Any

from vjepa.errors import counted
from vjepa.weights.action_use import use_text
from vjepa.weights.classifiers import classifiers_of
from vjepa.weights.facts import PAPER_FPS, ActingFacts, ClipFacts
from vjepa.weights.family import POSITIONS, plain
from vjepa.weights.files import State
from vjepa.weights.keymaps import block_count
from vjepa.weights.meta import ROPE_PIXELS
from vjepa.weights.released import LEVELS, Released, released_file

Rows = list[tuple[str, str]]
"""(what, value), as `Card.rows`."""
META_PARTS = {
    "target_encoder": "ema",
    "ema_encoder": "ema",
    "encoder": "student",
    "predictor": "predictor",
    "classifiers": "probe",
}
"""Network of Meta's files -> part of our exports. Of two averaged encoders, the last is loaded."""
UNUSED = (*POSITIONS, "extrinsics_encoder")
"""First words of tensors that are left out."""
ROTARY = {
    "released": "released: tiled frequencies, as V-JEPA 2 was trained with",
    "interleaved": "interleaved: as V-JEPA 2.1 was trained with",
}
"""Layouts of rotary positions, in words."""
MOST_LEFT = 12
"""Names of things beside the networks that are told."""


def meta_networks(content: Mapping[str, Any]) -> dict[str, State]:
    """Part -> the tensors that are read for it, under Meta's names; of several classifiers the first."""
    networks = {part: content[key] for key, part in META_PARTS.items() if key in content}
    if "probe" in networks:
        networks["probe"] = classifiers_of(content)[0]
    if any("action_encoder" in key for key in networks.get("predictor", ())):
        networks["ac_predictor"] = networks.pop("predictor")
    return {part: plain(network) for part, network in networks.items()}


def meta_details(networks: Mapping[str, State], classifiers: int) -> Rows:
    """Rows about the networks of a file of Meta's. classifiers: How many the file holds."""
    encoder = networks.get("ema") or networks.get("student", {})
    rows = meta_encoder_details(encoder) + meta_predictor_details(networks.get("predictor", {}))
    classes = networks.get("probe", {}).get("linear.weight")
    if classifiers > 1:
        rows.append(("probe", f"{classifiers} classifiers; the first is read unless load_probe has head="))
    return rows + ([("classes", str(len(classes)))] if classes is not None else [])


def meta_encoder_details(state: State) -> Rows:
    """The rotary positions and the levels of an encoder."""
    depth = block_count(state, "blocks.")
    norms = block_count(state, "norms_block.")
    if not norms:
        return encoder_details({"rope": "released"}) if depth else []
    known = range(depth) if norms == depth else LEVELS.get(depth, ())
    levels = known if len(known) == norms else ()
    kernel = state.get("patch_embed.proj.weight")
    grid = None if kernel is None else ROPE_PIXELS // kernel.shape[-1]
    return encoder_details({"rope": "interleaved", "rope_grid": grid, "levels": levels})


def meta_predictor_details(state: State) -> Rows:
    """The mask tokens of a predictor, and what it predicts if that is not the encoder's last level alone."""
    tokens = sum(key.startswith("mask_tokens.") for key in state)
    out = state.get("predictor_proj.weight")
    if not tokens or out is None:
        return []
    told = counted(tokens, "mask token")
    first = state.get("predictor_embed.0.weight")
    if first is not None:
        told += f"; predicts {first.shape[1] // len(first)} levels of width {len(first)}"
    elif "video_mod_embed" in state:
        told += f"; {distilled_text(len(out))}"
    return [("predictor", told)]


def distilled_text(width: int) -> str:
    """What a predictor of a teacher's tokens says of its encoder."""
    return f"predicts a teacher's tokens of width {width}: the encoder was distilled"


def encoder_details(config: Mapping[str, Any]) -> Rows:
    """The same of an encoder's settings."""
    grid = config.get("rope_grid")
    rope = ROTARY.get(config.get("rope", "released"), "unknown")
    rows = [("rotary", f"{rope}, stretched to {grid} x {grid} places" if grid else rope)]
    levels = [str(level) for level in config.get("levels", ())]
    return rows + ([("levels", f"blocks {and_joined(levels)}")] if levels else [])


def and_joined(words: Iterable[str]) -> str:
    """Words as `x, y and z`."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last


def published(name: str, networks: Mapping[str, State]) -> Released | None:
    """The published model that a file is by its name, if its networks have that model's sizes."""
    model = released_file(name)
    encoder = networks.get("ema") or networks.get("student")
    if encoder and "patch_embed.proj.weight" in encoder:
        sizes = len(encoder["patch_embed.proj.weight"]), block_count(encoder, "blocks.")
        return model if model and model.encoder == sizes else None
    head = networks.get("probe", {}).get("linear.weight")
    fits = model is not None and head is not None and head.shape[-1] == model.encoder[0]
    return model if fits else None


def released_clip(model: Released | None) -> tuple[ClipFacts | None, str]:
    """The clips of a published model, and a note about what is known of them."""
    if model is None:
        return None, "such files do not say their clips"
    if model.frames and model.holds.startswith("V-JEPA"):
        note = f"the clip is known by its name; the frame rate is that of V-JEPA 2's paper, {PAPER_FPS:g} fps"
        return ClipFacts(model.frames, PAPER_FPS, model.size), note
    frames = f"{model.frames} frames of" if model.frames else "frames of"
    missing = "frame rate" if model.frames else "number of frames"
    return None, f"by its name it was trained on {frames} {model.size} px; their {missing} is not known"


def leftovers(content: Mapping[Any, Any]) -> list[str]:
    """A note that names what a file holds beside the networks that are read, if there is anything."""
    read = set(META_PARTS) - ({"target_encoder"} if "ema_encoder" in content else set())
    left = [named(key, value) for key, value in content.items() if key not in {*read, "vjepa"}]
    keys = {
        key
        for part in read & content.keys()
        if isinstance(content[part], Mapping)
        for key in plain(content[part])
    }
    left += [word for word in UNUSED if any(key.startswith(word) for key in keys)]
    more = f" and {len(left) - MOST_LEFT} more" if len(left) > MOST_LEFT else ""
    return [f"not read: {', '.join(left[:MOST_LEFT])}{more}"] if left else []


def named(key: Any, value: Any) -> str:
    """A thing beside the networks: its name, and its value if that is a number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{str(key)[:40]} ({value:g})" if number else str(key)[:40]


def acting_rows(acting: ActingFacts) -> list[tuple[str, str]]:
    """What is known of acting, as in `Card.rows`."""
    centres = acting.schema.get("centres")
    names = acting.schema.get("names", ())
    angles = "as recorded"
    if centres:
        kept = and_joined(names[dim] for dim in acting.schema["rotation"])
        angles = f"{kept} are kept within pi of {', '.join(f'{centre:.4g}' for centre in centres)}"
    rows = [("states", ", ".join(names)), ("angles", angles)]
    facts = {"images": (acting.size, "px"), "actions": (acting.fps, "per second")}
    rows += [(key, f"{value} {unit}") for key, (value, unit) in facts.items() if value]
    if acting.scales:
        sides = and_joined(f"{side} x {side}" for side in acting.scales)
        rows.append(("energy", f"compares averages over squares of {sides} tokens"))
    return rows + ([("action use", use_text(acting.action_use))] if acting.action_use else [])

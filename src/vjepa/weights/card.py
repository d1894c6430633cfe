"""A file of weights, described: what it holds, what that was trained on, and how well it did.

    print(read_card("runs/demo/cooldown/model.safetensors"))

Weights are not loaded for it. What a file does not say is None.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from vjepa.errors import one_line
from vjepa.weights.box import BOX, BOX_NOTE, is_box
from vjepa.weights.details import (
    acting_rows,
    distilled_text,
    encoder_details,
    leftovers,
    meta_details,
    meta_networks,
    published,
    released_clip,
)
from vjepa.weights.facts import PAPER_FPS, ActingFacts, ClipFacts, clip_facts
from vjepa.weights.family import Family
from vjepa.weights.files import CheckpointError, as_checkpoint_error, shown_source
from vjepa.weights.hub_name import hub_name
from vjepa.weights.huggingface import HF_PARTS, hf_encoder_config, read_hf
from vjepa.weights.meta import INSTEAD
from vjepa.weights.own_facts import OWN
from vjepa.weights.settings import settings
from vjepa.weights.source import Opened, how_to_say, read_source

ACTING_PARTS = ("ac_predictor", "policy", "state_reader")
MEASURES = {"classes": "accuracy", "multilabel": "mean average precision", "regression": "R2"}
"""What the scores of a probe are, by the targets it predicts."""


@dataclass(frozen=True)
class Card:
    """What a source of weights says of itself."""

    source: str
    """The source as it was given; `demo` for the weights in the package."""
    family: str
    """Who wrote the file, and for which networks: `vjepa`, `Hugging Face`, `Meta, V-JEPA 2`."""
    parts: tuple[str, ...]
    """The networks it holds, by the names of our exports."""
    stage: str | None = None
    """The stage that wrote it."""
    steps: int | None = None
    seed: int | None = None
    clip: ClipFacts | None = None
    """The clips it was trained on."""
    data: str | None = None
    """Digest of the data it was trained on."""
    licence: str | None = None
    commit: str | None = None
    """Version of the code that trained it."""
    acting: ActingFacts | None = None
    """What its action-conditioned predictor or policy was trained for."""
    scores: Mapping[str, float] = field(default_factory=dict)
    measure: str | None = None
    """What the scores are that are not errors, as `accuracy`."""
    notes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Parameters of each part."""
    details: tuple[tuple[str, str], ...] = ()
    """(what, value) of what is particular to its networks, such as the layout of their positions."""

    @property
    def name(self) -> str:
        """What an output calls these weights."""
        return BOX_NOTE if self.source == BOX else self.source

    def rows(self) -> list[tuple[str, str]]:
        """(what, value) of everything that is known, as text."""
        sizes = ", ".join(f"{part} ({parameters_text(self.sizes[part])})" for part in self.parts)
        rows = [("weights", self.name), ("family", self.family), ("parts", sizes), *self.details]
        plain = ("stage", "steps", "seed", "clip", "data", "licence", "commit")
        rows += [(key, str(value)) for key in plain if (value := getattr(self, key)) is not None]
        rows += acting_rows(self.acting) if self.acting else []
        rows += score_rows(self.scores, self.measure or "score")
        return rows + [("note", note) for note in self.notes]

    def __str__(self) -> str:
        return "\n".join(f"{what:<10} {one_line(value)}" for what, value in self.rows())


def parameters_text(count: int) -> str:
    """A number of parameters: 0, 9.4k, 0.2M, 86M, 1.0B."""
    if count < 1000:
        return str(count)
    if count < 1e5:
        return f"{count / 1e3:.1f}k"
    if count >= 1e9:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.1f}M" if count < 1e7 else f"{count / 1e6:.0f}M"


def score_rows(scores: Mapping[str, float], measure: str) -> list[tuple[str, str]]:
    """Scores by the name of their measure, then errors of predicted tokens, as in `Card.rows`."""
    told = [(name, f"{name} {value:.3f}") for name, value in scores.items()]
    errors = [("error", text) for name, text in told if name.endswith(" ahead")]
    meaning = [("errors", "of predicted tokens, 1 or more actions ahead; lower is better")] if errors else []
    return [(measure, text) for name, text in told if not name.endswith(" ahead")] + meaning + errors


@as_checkpoint_error
def read_card(source: str | Path) -> Card:
    """The card of an export, of a file of Meta's, of a Hugging Face directory, or of `demo`.

    Raises CheckpointError if the source does not exist or is none of these.
    """
    on_hub = hub_name(source)
    found = read_source(source)
    name = BOX if is_box(source) else shown_source(source)
    if found.family is Family.HUGGING_FACE:
        card = hugging_face_card(name, found)
    else:
        card = export_card(name, found) if found.family is Family.EXPORT else meta_card(name, found)
    if found.family is not Family.EXPORT:
        card = with_own_facts(card, found.content.get(OWN))
    card.rows()  # a value of another type is an error here, and not where a page is half made
    return replace(card, notes=(*card.notes, hub_note(found.path))) if on_hub else card


def hub_note(path: Path) -> str:
    """Where a model of the hub lies in its cache, in a folder that is called by its commit."""
    folder = path if path.is_dir() else path.parent
    return f"from Hugging Face's hub, commit {folder.name}"


def export_card(name: str, found: Opened) -> Card:
    """The card of one of our exports, also of older versions."""
    parts = found.content["parts"]
    values = {
        "source": name,
        "family": "vjepa",
        "parts": tuple(parts),
        "sizes": parameters_by_part(found.path),
    }
    return settings(Card, values | training_facts(found.content))


def training_facts(description: Mapping[str, Any]) -> dict[str, Any]:
    """What a description of ours says of the training, as values of a card."""
    info = description.get("info", {})
    acting = [ActingFacts.of(part) for key, part in description["parts"].items() if key in ACTING_PARTS]
    values = {key: info.get(key) for key in ("stage", "steps", "seed", "data", "licence", "commit")}
    values["clip"] = clip_facts(info["clip"]) if info.get("clip") else None
    values["acting"] = acting[0] if acting else None
    values["scores"] = info.get("scores", {})
    values["measure"] = MEASURES.get(description["parts"].get("probe", {}).get("schema", {}).get("targets"))
    values["notes"] = info.get("notes", ())
    values["details"] = tuple(own_details(description["parts"]))
    return values


def own_details(parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is particular to the networks of a description of ours, as rows; nothing of plain ones."""
    encoder = parts.get("ema") or parts.get("student", {})
    is_plain = not encoder.get("levels") and encoder.get("rope", "released") == "released"
    rows = [] if is_plain else encoder_details(encoder)
    width = parts.get("predictor", {}).get("config", {}).get("target_width")
    return rows + ([("predictor", distilled_text(width))] if width else [])


def with_own_facts(card: Card, description: Mapping[str, Any] | None) -> Card:
    """The card of a foreign layout that we wrote, whose description stands beside the networks."""
    if description is None:
        return card
    known = {key: value for key, value in training_facts(description).items() if value}
    # What is not known of the clips was noted without this description.
    notes = (*(() if "clip" in known else card.notes), *known.get("notes", ()))
    return settings(Card, vars(card) | known | {"notes": tuple(dict.fromkeys(notes))})


def hugging_face_card(name: str, found: Opened) -> Card:
    """The card of a Hugging Face directory: its config.json names frames and size."""
    config = found.content
    hf_encoder_config(config)
    sizes: dict[str, int] = {}
    for key, value in read_hf(found.path).items():
        part = HF_PARTS[f"{key.partition('.')[0]}."]
        sizes[part] = sizes.get(part, 0) + value.numel()
    known = "frames_per_clip" in config and "crop_size" in config
    numbers = {"frames": config["frames_per_clip"], "size": config["crop_size"]} if known else {}
    clip = clip_facts({**numbers, "fps": PAPER_FPS}) if known else None
    notes = ("config.json names no frame rate; that of the paper is taken",) if clip else ()
    classes = config.get("id2label") if "probe" in sizes else None
    details = encoder_details({"rope": "released"}) + ([("classes", str(len(classes)))] if classes else [])
    parts = tuple(sizes)
    return Card(name, "Hugging Face", parts, clip=clip, notes=notes, sizes=sizes, details=tuple(details))


def meta_card(name: str, found: Opened) -> Card:
    """The card of a file of Meta's, which holds tensors and says little about them."""
    networks = meta_networks(found.content)
    if not networks:
        raise CheckpointError(f"{found.path} holds {found.family}; {INSTEAD[found.family]}")
    model = published(found.path.name, networks)
    # A file of probes may hold the encoder too.
    has_encoder = found.family is Family.PROBE and networks.keys() & {"ema", "student"}
    clip, note = released_clip(model)
    notes = [note, *leftovers(found.content)]
    if found.family is Family.V1_OR_V2:
        notes.append(f"{found.family}: {how_to_say(found.path)}")
    return Card(
        source=name,
        family=f"Meta, {Family.V2 if has_encoder else found.family}",
        parts=tuple(networks),
        clip=clip,
        licence=model and model.licence,
        notes=tuple(notes),
        sizes={part: sum(map(Tensor.numel, state.values())) for part, state in networks.items()},
        details=tuple(meta_details(networks, len(found.content.get("classifiers", ())))),
    )


def parameters_by_part(path: Path) -> dict[str, int]:
    """Numbers in each part of an export, whose tensors' names begin with the part's, from its header."""
    parts: dict[str, int] = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            part = key.partition(".")[0]
            parts[part] = parts.get(part, 0) + prod(file.get_slice(key).get_shape())
    return parts

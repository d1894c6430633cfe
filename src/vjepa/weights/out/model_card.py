"""The README.md of a directory of weights: where they come from, how to load them, and what they were scored.

    text = model_card(card, parts, clip, command, notes_for(parts, clip))

Its head is what Hugging Face's hub reads.
"""

import json
from collections.abc import Collection, Mapping, Sequence

from vjepa.weights.card import Card, parameters_text
from vjepa.weights.facts import ClipFacts
from vjepa.weights.out.hf_folder import PROCESSOR
from vjepa.weights.out.open_parts import OpenPart

LICENCES = ("mit", "apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "bsd-3-clause")
"""Licences that the hub knows by these names; any other is `other` there."""


def model_card(
    card: Card, parts: Collection[str], clip: ClipFacts, command: str, notes: Sequence[str]
) -> str:
    """The text.

    Args:
        card: Of the source.
        parts: What was written of it.
        clip: The clips that the directory's config names.
        command: What made the directory.
        notes: What a reader must know besides.
    """
    lines = [*front(card, parts), "", "# V-JEPA 2", "", *table(card, parts, clip)]
    lines += ["", "## Load", "", *loading("probe" in parts), "", "## Notes", ""]
    lines += [f"- {note}" for note in (*card.notes, *notes)]
    return "\n".join([*lines, "", "Made by", "", f"    {command}", ""])


def front(card: Card, parts: Collection[str]) -> list[str]:
    """The head, as the hub reads it."""
    lines = ["---", "library_name: transformers", *licence_lines(card.licence)]
    task = "video-classification" if "probe" in parts else "feature-extraction"
    return [*lines, f"pipeline_tag: {task}", "tags:", "- video", "- vjepa2", "- v-jepa-2", "---"]


def licence_lines(licence: str | None) -> list[str]:
    """What the head says of a licence; nothing if it is unknown."""
    if licence is None:
        return []
    if licence.lower() in LICENCES:
        return [f"license: {licence.lower()}"]
    return ["license: other", f"license_name: {json.dumps(licence)}"]  # JSON's quotes are YAML's too


def table(card: Card, parts: Collection[str], clip: ClipFacts) -> list[str]:
    """What is known of the weights, one row each."""
    sizes = [f"{part} ({parameters_text(card.sizes[part])})" for part in parts if part in card.sizes]
    rows = [row for row in card.rows() if row[0] not in ("parts", "clip", "note")]
    rows += [("networks", ", ".join(sizes)), ("clip", f"{clip.frames} frames, {clip.size} px")]
    rows += [("frame rate", f"{card.clip.fps:g} per second")] if card.clip else []
    return ["| | |", "|---|---|", *(f"| {cell(what)} | {cell(value)} |" for what, value in rows)]


def cell(text: str) -> str:
    """A text that does not end the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def loading(classifies: bool) -> list[str]:
    """A program that loads the directory."""
    kind = "VJEPA2ForVideoClassification" if classifies else "AutoModel"
    result = "logits" if classifies else "last_hidden_state"
    given = "" if classifies else ", skip_predictor=True"
    return [
        "```python",
        f"from transformers import AutoVideoProcessor, {kind}",
        "",
        "model = " + kind + '.from_pretrained("FOLDER").eval()',
        'processor = AutoVideoProcessor.from_pretrained("FOLDER")',
        "# frames: t h w c, uint8 RGB, as many as the clip has, at its frame rate",
        'inputs = processor(frames, return_tensors="pt")',
        f"outputs = model(**inputs{given}).{result}",
        "```",
    ]


def notes_for(parts: Mapping[str, OpenPart], clip: ClipFacts) -> list[str]:
    """What somebody who loads the directory must know."""
    notes = [
        f"The video processor ({PROCESSOR}) scales the shorter side to {clip.size} px and takes the middle. "
        "Training took the middle square and scaled it: the same for square videos, for others a shift of up "
        "to half a pixel. VJEPA2VideoProcessor would cut off an eighth of the picture.",
        f"Positions follow from crop_size: for clips of another size than {clip.size} px, change it in "
        "config.json too.",
    ]
    if "predictor" not in parts:
        notes.append("There is no predictor: transformers draws one at random. Pass skip_predictor=True.")
    elif parts["predictor"].tensors["mask_tokens"].shape[0] > 1:
        notes.append("Of the predictor's learned queries transformers uses number 1, and vjepa number 0.")
    return notes

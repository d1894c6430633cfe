"""The command that writes an encoder, alone or with its probe, for programs that lack this package.

    vjepa weights export --encoder demo --out encoder.onnx                  # clip -> tokens
    vjepa weights export --encoder demo --probe demo --out motions.onnx     # clip -> logits

The file takes normalised clips `b c t h w` of one length and size. What a program must know besides, such as
mean, deviation and names of classes, is in the file as JSON (`facts_of`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.errors import check_positive, counted, require
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.models.probe import AttentiveProbe
from vjepa.weights.card import Card, read_card
from vjepa.weights.facts import chosen
from vjepa.weights.files import CheckpointError, check_same_encoder, weights_digest
from vjepa.weights.load import Weights, load_encoder, load_probe
from vjepa.weights.out.places import check_named, check_not_read, complete
from vjepa.weights.out.portable_files import check_packages, comparison, kind_of, write_model
from vjepa.weights.probe_schema import check_probe_of, clip_in, known_schema

Format = Literal["onnx", "torch"]
FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
"""Format -> ending of its files."""
FRAMES = 16
SIZE = 256
"""The clips of the paper's pretraining, for files that do not say theirs."""
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""By which clips are normalised, as in `data.transforms`, a room that this one does not know."""


class PortableClassifier(nn.Module):
    """An encoder and the probe that reads it: normalised clip -> logits."""

    def __init__(self, encoder: Encoder, probe: AttentiveProbe, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.probe = probe
        self.layers = layers

    def forward(self, clip: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b classes"]:
        if not self.layers:
            return self.probe(self.encoder(clip))
        # Layers stand side by side along the tokens, as in training.
        return self.probe(rearrange(self.encoder.layers(clip, self.layers), "b l n d -> b (l n) d"))


def export_portable(
    *,
    encoder: Path,
    out: Path,
    probe: Path | None = None,
    weights: Weights | None = None,
    frames: int | None = None,
    size: int | None = None,
    batch: int | None = None,
    format: Format | None = None,
) -> None:
    """Write an encoder, alone or with its probe, as ONNX or for torch.export, and compare it with ours.

    Args:
        encoder: A stage's export, Meta's `.pt`, a Hugging Face directory, or `demo`.
        out: File to write: .onnx, or .pt2 for a program of torch.export.
        probe: A probe that reads this encoder, for logits instead of tokens.
        weights: Which of the source's encoders. Not given: the one that the probe reads, else ema.
        frames: Frames of a clip. Not given: as the weights say.
        size: Height and width of a clip, pixels. Not given: as the weights say.
        batch: Clips that the file takes at once. Not given: any number.
        format: onnx, or torch for a program of torch.export. Not given: as the ending of `out` says.
    """
    check_positive(frames=frames, size=size, batch=batch)
    check_format(out, format)
    check_out(out, encoder, probe)
    schema = known_schema(probe) if probe else {}
    network = load_encoder(encoder, weights or schema.get("weights", "ema"))
    # A probe was trained on clips of its own, so it is asked first.
    cards = [read_card(source) for source in (probe, encoder) if source]
    if known := clip_in(schema):
        cards[0] = replace(cards[0], clip=known)
    clip = clip_to_take(cards, network, frames, size)
    facts = {"output": "logits" if probe else "tokens"} | clip | facts_of(cards[-1], network, schema)
    whole = freeze(classifier(network, probe, schema) if probe else network)

    with complete(out) as unfinished:
        write_model(whole, unfinished, batch, facts)
        told = comparison(whole, unfinished, batch or 1, facts)
    print(f"{out}: {facts['output']} of {clip_text(facts, batch)}; {told}")


def check_format(out: Path, format: Format | None) -> None:
    """Raise UserError if the ending of `out` is that of another format than the one asked for."""
    ending = FORMATS.get(format, out.suffix)
    require(out.suffix == ending, f"{out} does not end in {ending}, as files of --format {format} do")


def check_out(out: Path, *read: Path | None) -> None:
    """Raise UserError unless `out` can be such a file, is none that is read, and its packages are there."""
    require(not out.is_dir(), f"{out} is a folder; name a file in it")
    check_packages(kind_of(out))
    check_named(out)
    check_not_read(out, [path for path in read if path])


def clip_to_take(
    cards: Sequence[Card], encoder: Encoder, frames: int | None, size: int | None
) -> dict[str, Any]:
    """Frames and size of the clips, as given, else as the first card says that knows clips; and its fps.

    Notes on stderr are those of `chosen`. Raises UserError if the encoder's tubelets do not divide them.
    """
    card = next((card for card in cards if card.clip), cards[-1])
    known = card.clip
    frames = chosen(card.source, "frames", known and known.frames, frames, FRAMES)
    size = chosen(card.source, "size", known and known.size, size, SIZE)
    encoder.grid_of_size(frames, size, size)
    return {"frames": frames, "size": size, "fps": known and known.fps}


def clip_text(facts: Mapping[str, Any], batch: int | None) -> str:
    """What a file takes, in words."""
    count = counted(batch, "clip") if batch else "any number of clips"
    return f"{count} of {counted(facts['frames'], 'frame')}, {facts['size']} px"


def classifier(encoder: Encoder, probe: Path, schema: Mapping[str, Any]) -> PortableClassifier:
    """The encoder with the probe in a file. Raises CheckpointError if the probe reads another encoder."""
    check_same_encoder(encoder, schema.get("encoder_digest"), str(probe))
    head = load_probe(probe)
    width = head.head.in_features
    if width != encoder.config.width:
        raise CheckpointError(
            f"{probe} reads tokens of width {width}, and the encoder's have {encoder.config.width}; "
            "give the encoder that it was trained on"
        )
    check_probe_of(probe, {"schema": dict(schema), "classes": head.head.out_features}, encoder.config)
    return PortableClassifier(encoder, head, tuple(schema.get("layers", ())))


def facts_of(card: Card, encoder: Encoder, schema: Mapping[str, Any]) -> dict[str, object]:
    """What a program must know to use the file, besides the clips; None for what the weights do not say.

    How clips are normalised; what the outputs are and are called; where the weights come from.
    """
    return {
        "input": "clip b c t h w, float32: (RGB / 255 - mean) / std",
        "mean": MEAN,
        "std": STD,
        "targets": schema.get("targets"),
        "names": schema.get("names"),
        "encoder": card.name,
        "encoder_digest": weights_digest(encoder),
        "licence": card.licence,
        "torch": torch.__version__,
    }

"""An encoder of the same architecture that was never trained: the control for every use of an encoder.

A result that is as good with this encoder does not come from pretraining.

    vjepa weights untrained --encoder FILE --out FILE
"""

from dataclasses import asdict
from pathlib import Path

import torch

from vjepa.errors import check_seed, require
from vjepa.models.encoder import Encoder
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export
from vjepa.weights.load import load_encoder


def untrained(*, encoder: Path, out: Path, seed: int = 0) -> None:
    """Write an export with random weights.

    Args:
        encoder: Source of the architecture: a stage's export, Meta's `.pt` or a Hugging Face directory.
        out: File to write.
        seed: Decides the weights.
    """
    check_seed(seed)
    overwritten = out.is_dir() or out.resolve() == encoder.resolve()
    require(not overwritten, f"{out} is a folder, or the encoder that is read; name another file to write")
    config = load_encoder(encoder).config
    torch.manual_seed(seed)
    clip = read_card(encoder).clip
    info = {"stage": "untrained", "seed": seed, "clip": asdict(clip) if clip else None}
    export(out, {"ema": encoder_part(Encoder(config))}, info)

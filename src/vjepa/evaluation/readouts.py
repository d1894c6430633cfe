"""What a frozen encoder tells about labelled clips: linear and attentive read-outs, the same with few labels, regression.

Small and quick on purpose: they run while an encoder trains, and tell what its loss cannot. The linear ones are ridge
regressions on averaged tokens, their penalty chosen by cross-validation, so no number is tuned for any encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vjepa.data.clips import ClipConfig, EvaluationClips
from vjepa.data.manifest import read_manifest
from vjepa.data.transforms import normalise
from vjepa.errors import UserError, require
from vjepa.evaluation.attentive import probe_accuracy, trained_probe
from vjepa.evaluation.linear import explained, few_label_accuracy, linear_accuracy, pool
from vjepa.models.encoder import Encoder


@dataclass(frozen=True)
class ReadOutConfig:
    """What is read from the tokens, and how."""

    classes: tuple[str, ...] = ("label",)
    """Manifest columns read as classes; rows that leave one empty do not count for it."""
    numbers: tuple[str, ...] = ()
    """Manifest columns regressed together."""
    cells: tuple[int, ...] = (1, 4)
    """Linear read-outs average tokens over so many rows and columns of cells, never over time; 1 is the whole frame."""
    few: int = 10
    """Labels per class of the few-label read-outs; 0 for none."""
    draws: int = 5
    """Few-label read-outs are averaged over so many draws of labels."""
    attentive_steps: int = 0
    """Steps of the attentive read-out's probe; 0 for none."""
    attentive_lr: float = 3e-3
    """Peak learning rate of that probe."""

    def __post_init__(self) -> None:
        require(
            min(self.cells, default=1) > 0,
            f"readout.cells={self.cells} are numbers of cells in a row; give 1 or more",
        )
        counts = min(self.few, self.attentive_steps) >= 0 and self.draws > 0 and self.attentive_lr > 0
        require(counts, "readout: few and attentive_steps must be 0 or more, draws and attentive_lr positive")


class LabelledClips(NamedTuple):
    """Decodable clips of a manifest in memory, with the manifest's columns of the same rows."""

    clips: UInt8[Tensor, "b t c h w"]
    columns: dict[str, list]

    def names(self, column: str) -> list:
        """The classes of a column in sorted order; an empty cell, or a label of -1, is none. Raises UserError below two."""
        names = sorted({value for value in self.columns[column] if value not in ("", None, -1)})
        require(
            len(names) > 1,
            f"column {column} tells no two classes apart (it holds {names}), so it cannot be read out",
        )
        return names

    def classes(self, column: str, names: Sequence) -> Int[Tensor, " b"]:
        """Places in `names`, -1 where the column is empty. Raises UserError on a class that is not among them."""
        values = [value if value not in ("", None, -1) else None for value in self.columns[column]]
        unknown = sorted({value for value in values if value is not None} - set(names))
        require(
            not unknown,
            f"column {column} holds {unknown} where read-outs are scored, but not where they are fitted",
        )
        return torch.tensor([-1 if value is None else names.index(value) for value in values])

    def numbers(self, names: Sequence[str]) -> Float[Tensor, "b k"]:
        """Raises UserError on what is no number."""
        return torch.tensor([[as_number(name, value) for value in self.columns[name]] for name in names]).T


def as_number(column: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(
            f"column {column} is regressed, but holds {value!r}; every row needs a number"
        ) from None


def labelled_clips(
    path: str, clip: ClipConfig, limit: int, columns: Sequence[str] = ("label",)
) -> LabelledClips:
    """At most `limit` decodable clips of a manifest, evenly spread over it. Raises UserError if a column is missing."""
    manifest = read_manifest(path)
    missing = [name for name in columns if name not in manifest.table.column_names]
    require(not missing, f"{path} has no column {', '.join(missing)}, which a read-out is to tell; it has "
                               f"{', '.join(manifest.table.column_names)}")  # fmt: skip
    dataset = EvaluationClips(manifest, clip)
    rows = np.linspace(0, len(dataset) - 1, min(limit, len(dataset))).round().astype(int).tolist()
    samples = {i: sample.clip for i in rows if (sample := dataset[i]).clip is not None}
    if not samples:
        raise UserError(f"{path}: no clip could be decoded; `python -m vjepa check-manifest {path}` says why")
    table = manifest.table.take(list(samples))
    return LabelledClips(
        torch.stack(list(samples.values())), {name: table[name].to_pylist() for name in columns}
    )


def read_out(
    encoder: Encoder, fit: LabelledClips, score: LabelledClips, config: ReadOutConfig
) -> dict[str, float]:
    """Every read-out of `config`, fitted on `fit`: share of right classes, or explained share of variance, on `score`."""
    return read_tokens(encode(encoder, fit.clips), fit, encode(encoder, score.clips), score, config)


def read_tokens(
    tokens: Float[Tensor, "b T H W d"],
    fit: LabelledClips,
    theirs: Float[Tensor, "c T H W d"],
    score: LabelledClips,
    config: ReadOutConfig,
) -> dict[str, float]:
    """The same from the tokens of `fit` and of `score`."""
    found = {}
    for cells in config.cells:
        suffix = "" if cells == 1 else f"_{cells}x{cells}"
        x, y = pool(tokens, cells), pool(theirs, cells)
        for name in config.classes:
            label, wanted = (clips.classes(name, fit.names(name)) for clips in (fit, score))
            found[f"{name}_linear{suffix}"] = linear_accuracy(x, label, y, wanted)
            if config.few:
                found[f"{name}_few{suffix}"] = few_label_accuracy(
                    x, label, y, wanted, config.few, config.draws
                )
        if config.numbers:
            found[f"numbers_r2{suffix}"] = explained(
                x, fit.numbers(config.numbers), y, score.numbers(config.numbers)
            )
    if config.attentive_steps:
        x, y = rearrange(tokens, "b T H W d -> b (T H W) d"), rearrange(theirs, "b T H W d -> b (T H W) d")
        for name in config.classes:
            label, wanted = (clips.classes(name, fit.names(name)) for clips in (fit, score))
            found[f"{name}_attentive"] = attentive_accuracy(x, label, y, wanted, config)
    return found


@torch.no_grad()
def encode(encoder: Encoder, clips: UInt8[Tensor, "b t c h w"]) -> Float[Tensor, "b T H W d"]:
    """Tokens of all clips on their grid, on the CPU."""
    device, tokens = next(encoder.parameters()).device, []
    for some in clips.split(32):
        clip = normalise(some.to(device))
        T, H, W = encoder.grid(clip)
        tokens.append(rearrange(encoder(clip).float().cpu(), "b (T H W) d -> b T H W d", T=T, H=H, W=W))
    return torch.cat(tokens)


def attentive_accuracy(
    x: Float[Tensor, "b n d"],
    label: Int[Tensor, " b"],
    y: Float[Tensor, "c n d"],
    wanted: Int[Tensor, " c"],
    config: ReadOutConfig,
) -> float:
    """Share of `y` that a one-block attentive probe trained on `x` gets right."""
    probe = trained_probe(x[label >= 0], label[label >= 0], config.attentive_steps, config.attentive_lr)
    return probe_accuracy(probe, y[wanted >= 0], wanted[wanted >= 0])

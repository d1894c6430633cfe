"""What a frozen encoder knows about labelled clips: linear, few-label and attentive read-outs; regression.

Read-outs are small and quick because they run while an encoder trains; its loss alone does not show whether
its features are useful. The linear ones are ridge regressions on averaged tokens whose penalty is chosen by
cross-validation, so no number is tuned for a particular encoder.

    fit = read_labelled_clips("train.csv", clip, limit=800)
    score = read_labelled_clips("val.csv", clip, limit=240)
    read_out(encoder, fit, score, ReadOutConfig())      # {"label_linear": 0.71, "label_few": 0.52, ...}
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.evaluation.attentive import attentive_accuracy
from vjepa.evaluation.labelled_clips import LabelledClips
from vjepa.evaluation.linear import few_label_accuracy, linear_accuracy, linear_r2, pool
from vjepa.models.encoder import Encoder


@dataclass(frozen=True)
class ReadOutConfig:
    """What is read from the tokens, and how."""

    classes: tuple[str, ...] = ("label",)
    """Manifest columns read as classes; rows that leave one empty do not count for it."""
    numbers: tuple[str, ...] = ()
    """Manifest columns regressed together."""
    cells: tuple[int, ...] = (1, 4)
    """Linear read-outs average tokens in each of n x n cells, for every n here; 1 is the whole frame."""
    few: int = 10
    """Labels per class of the few-label read-outs; 0 for none."""
    draws: int = 5
    """Random draws of labels over which few-label read-outs are averaged."""
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


def read_out(
    encoder: Encoder, fit: LabelledClips, score: LabelledClips, config: ReadOutConfig
) -> dict[str, float]:
    """Every read-out of `config`, fitted on the clips `fit` and scored on the clips `score`.

    A class column gives shares of right answers, numbers give the explained share of variance (R^2).
    """
    return read_out_tokens(encode(encoder, fit.clips), fit, encode(encoder, score.clips), score, config)


def read_out_tokens(
    fit_tokens: Float[Tensor, "b T H W d"],
    fit: LabelledClips,
    score_tokens: Float[Tensor, "c T H W d"],
    score: LabelledClips,
    config: ReadOutConfig,
) -> dict[str, float]:
    """`read_out` from the tokens of both sets of clips."""
    # First, because it refuses columns that cannot be read before anything is fitted.
    labels = {name: labels_of(name, fit, score) for name in config.classes}
    scores = {}
    for cells in config.cells:
        suffix = "" if cells == 1 else f"_{cells}x{cells}"
        # Averaged over places, but not over time, in which the motion is.
        features = (pool(fit_tokens, cells), pool(score_tokens, cells))
        scores |= linear_read_outs(features, labels, suffix, config)
        if config.numbers:
            targets = (fit.numbers(config.numbers), score.numbers(config.numbers))
            scores[f"numbers_r2{suffix}"] = linear_r2(features[0], targets[0], features[1], targets[1])
    if config.attentive_steps:
        scores |= attentive_read_outs(flat(fit_tokens), flat(score_tokens), labels, config)
    return scores


def labels_of(
    column: str, fit: LabelledClips, score: LabelledClips
) -> tuple[Int[Tensor, " b"], Int[Tensor, " c"]]:
    """A column's classes in both sets of clips, numbered as they occur in `fit`."""
    names = fit.names(column)
    return fit.classes(column, names), score.classes(column, names)


def linear_read_outs(
    features: tuple[Float[Tensor, "b f"], Float[Tensor, "c f"]],
    labels: dict[str, tuple[Int[Tensor, " b"], Int[Tensor, " c"]]],
    suffix: str,
    config: ReadOutConfig,
) -> dict[str, float]:
    """Accuracy with all labels, and with few, for each class column."""
    scores = {}
    for name, (fit_labels, score_labels) in labels.items():
        data = (features[0], fit_labels, features[1], score_labels)
        scores[f"{name}_linear{suffix}"] = linear_accuracy(*data)
        if config.few:
            scores[f"{name}_few{suffix}"] = few_label_accuracy(*data, config.few, config.draws)
    return scores


def attentive_read_outs(
    fit_tokens: Float[Tensor, "b n d"],
    score_tokens: Float[Tensor, "c n d"],
    labels: dict[str, tuple[Int[Tensor, " b"], Int[Tensor, " c"]]],
    config: ReadOutConfig,
) -> dict[str, float]:
    """Accuracy of a trained attentive probe for each class column."""
    scores = {}
    for name, (fit_labels, score_labels) in labels.items():
        data = (fit_tokens, fit_labels, score_tokens, score_labels)
        accuracy = attentive_accuracy(*data, config.attentive_steps, config.attentive_lr)
        scores[f"{name}_attentive"] = accuracy
    return scores


def flat(tokens: Float[Tensor, "b T H W d"]) -> Float[Tensor, "b n d"]:
    return rearrange(tokens, "b T H W d -> b (T H W) d")


@torch.no_grad()
def encode(encoder: Encoder, clips: UInt8[Tensor, "b t c h w"]) -> Float[Tensor, "b T H W d"]:
    """The tokens of all clips on their grid, on the CPU, encoded in small batches on the encoder's device."""
    device = next(encoder.parameters()).device
    tokens = []
    for batch in clips.split(32):
        clip = normalise(batch.to(device))  # moved as bytes, a quarter of the floats
        T, H, W = encoder.grid(clip)
        # The tokens of all clips may not fit on a GPU beside the training.
        tokens.append(rearrange(encoder(clip).float().cpu(), "b (T H W) d -> b T H W d", T=T, H=H, W=W))
    return torch.cat(tokens)

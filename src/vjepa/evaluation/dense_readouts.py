"""What single tokens of a frozen encoder say about their own place: which kind of thing is there, and how far
the hand is from there.

V-JEPA 2.1 claims that every token describes its own place. The read-outs of `readouts` average tokens, so
they cannot show it. These are ridge regressions on single tokens, fitted on some clips and scored on others.

    fit = read_dense_clips("data/demo/train.csv", clip, limit=400)    # vjepa.sim.recording.dense_targets
    score = read_dense_clips("data/demo/val.csv", clip, limit=176)
    dense_read_out(encoder, fit, score)    # {"kind_recall": 0.54, "kind_accuracy": 0.69, "hand_r2": 0.35, ..}
    dense_controls(fit, score, encoder.grid_of_size(10, 64, 64))    # without encoder: chance, pixels, place
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from vjepa.errors import require
from vjepa.evaluation.readouts import encode
from vjepa.evaluation.token_ridge import token_ridge
from vjepa.models.encoder import Encoder
from vjepa.models.grid import Grid


@dataclass(frozen=True)
class DenseClips:
    """Decoded clips, what each pixel of their frames shows, and where the hand is in them."""

    clips: UInt8[Tensor, "b t c h w"]
    kinds: UInt8[Tensor, "b t y x"]
    """The place in `names` of the kind of thing that a pixel shows. Frames may have another size."""
    hand: Float[Tensor, "b t 2"]
    """Row and column in the image, from 0 to 1 from edge to edge; it may be outside."""
    names: tuple[str, ...]


def dense_read_out(encoder: Encoder, fit: DenseClips, score: DenseClips) -> dict[str, float]:
    """What single tokens tell, fitted on the clips `fit` and scored on the clips `score`.

    kind_recall     share of right kinds, averaged over kinds, so that each has the same weight
    kind_accuracy   share of right kinds, averaged over tokens
    hand_r2         explained share of the variance (R^2) of the distance in the image to the hand

    The same names with `_with_place` are of read-outs that are also told where on the grid a token is. They
    show what the encoder adds to that. Raises UserError if a kind is scored that is not fitted, or if frames
    do not divide into tokens.
    """
    return read_outs_of_tokens(encode(encoder, fit.clips), fit, encode(encoder, score.clips), score)


def dense_controls(fit: DenseClips, score: DenseClips, grid: Grid) -> dict[str, float]:
    """The same read-outs without an encoder, on an encoder's token grid.

    `pixels_*` read the pixels of a token, `place_*` are told its place and nothing else. `majority` is the
    share of the most frequent kind, the accuracy of always guessing it; the recall of that is `chance`.
    """
    kinds = kinds_of_tokens(score, grid)
    pixels = (pixel_tokens(fit.clips, grid), fit, pixel_tokens(score.clips, grid), score)
    places = (place_tokens(len(fit.clips), grid), fit, place_tokens(len(score.clips), grid), score)
    return {
        "chance": 1 / len(kinds.unique()),
        "majority": float(kinds.flatten().bincount().max() / kinds.numel()),
        **{f"pixels_{name}": value for name, value in read_outs_of_tokens(*pixels).items()},
        **{f"place_{name}": value for name, value in read_out_alone(*places).items()},
    }


def read_outs_of_tokens(
    fit_tokens: Float[Tensor, "b T H W d"],
    fit: DenseClips,
    score_tokens: Float[Tensor, "c T H W d"],
    score: DenseClips,
) -> dict[str, float]:
    """`dense_read_out` from the tokens of both sets of clips."""
    alone = read_out_alone(fit_tokens, fit, score_tokens, score)
    placed = read_out_alone(with_place(fit_tokens), fit, with_place(score_tokens), score)
    return alone | {f"{name}_with_place": value for name, value in placed.items()}


def read_out_alone(
    fit_tokens: Float[Tensor, "b T H W d"],
    fit: DenseClips,
    score_tokens: Float[Tensor, "c T H W d"],
    score: DenseClips,
) -> dict[str, float]:
    """The three read-outs from tokens as they are."""
    T, H, W = fit_tokens.shape[1:4]
    kinds = kinds_of_tokens(fit, (T, H, W))
    true_kinds = kinds_of_tokens(score, (T, H, W))
    check_kinds(kinds, true_kinds, fit.names)
    x = rearrange(fit_tokens, "b T H W d -> b (T H W) d")
    at = rearrange(score_tokens, "c T H W d -> c (T H W) d")

    targets = one_hot(kinds, len(fit.names)).float()
    same = torch.ones(kinds.shape)
    # Rare kinds have to weigh as much as frequent ones, or they are never guessed.
    balanced = token_ridge(x, targets, equal_shares(kinds), at).argmax(dim=-1)
    plain = token_ridge(x, targets, same, at).argmax(dim=-1)
    distances = token_ridge(x, distances_of_tokens(fit, (T, H, W)), same, at)
    return {
        "kind_recall": mean_recall(balanced, true_kinds),
        "kind_accuracy": float((plain == true_kinds).float().mean()),
        "hand_r2": explained(distances, distances_of_tokens(score, (T, H, W))),
    }


def pixel_tokens(clips: UInt8[Tensor, "b t c h w"], grid: Grid) -> Float[Tensor, "b T H W d"]:
    """The pixels of each tubelet, 0 to 1, in the place of tokens."""
    T, H, W = grid
    pixels = rearrange(clips, "b (T t) c (H h) (W w) -> b T H W (t c h w)", T=T, H=H, W=W)
    return pixels.float() / 255


def place_tokens(clips: int, grid: Grid) -> Float[Tensor, "b T H W n"]:
    """In the place of tokens the number of each place in the frame, one-hot, for so many clips."""
    T, H, W = grid
    # Not of each moment: what is where does not depend on time, since films are shown both ways.
    places = rearrange(torch.eye(H * W), "(H W) n -> H W n", H=H, W=W)
    return repeat(places, "H W n -> b T H W n", b=clips, T=T)


def with_place(tokens: Float[Tensor, "b T H W d"]) -> Float[Tensor, "b T H W e"]:
    """Tokens, and after each the number of its place."""
    T, H, W = tokens.shape[1:4]
    return torch.cat([tokens, place_tokens(len(tokens), (T, H, W))], dim=-1)


def kinds_of_tokens(clips: DenseClips, grid: Grid) -> Int[Tensor, "b n"]:
    """The kind that most pixels of each token show, counted over all frames of its tubelet.

    Raises UserError if frames do not divide into tokens.
    """
    sides = clips.kinds.shape[1:]
    require(
        all(side % tokens == 0 for side, tokens in zip(sides, grid, strict=True)),
        f"kinds of {tuple(sides)} frames, rows and columns do not divide into {grid} tokens",
    )
    T, H, W = grid
    kinds = rearrange(clips.kinds, "b (T t) (H h) (W w) -> b (T H W) (t h w)", T=T, H=H, W=W)
    # Kind by kind: one-hot pixels of all clips would take gigabytes.
    counts = [(kinds == number).sum(dim=-1) for number in range(len(clips.names))]
    return torch.stack(counts).argmax(dim=0)


def distances_of_tokens(clips: DenseClips, grid: Grid) -> Float[Tensor, "b n 1"]:
    """From the middle of each token to the hand, in widths of the frame: the mean over its frames."""
    T, H, W = grid
    rows = (torch.arange(H) + 0.5) / H
    columns = (torch.arange(W) + 0.5) / W
    middles = torch.cartesian_prod(rows, columns)  # of (H W) places

    distances = torch.linalg.vector_norm(clips.hand[:, :, None] - middles, dim=-1)
    return reduce(distances, "b (T t) n -> b (T n) 1", "mean", T=T)


def check_kinds(fitted: Int[Tensor, "b n"], scored: Int[Tensor, "c n"], names: tuple[str, ...]) -> None:
    """Raises UserError for a kind that a read-out is scored on but not fitted on."""
    unknown = sorted(set(scored.unique().tolist()) - set(fitted.unique().tolist()))
    require(
        not unknown,
        f"no token shows {', '.join(names[number] for number in unknown)} where dense read-outs are fitted, "
        "but some do where they are scored; fit on more clips",
    )


def equal_shares(kinds: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """A weight for each token, 1 on average, by which all kinds weigh the same in sum."""
    counts = kinds.flatten().bincount()
    shares = kinds.numel() / ((counts > 0).sum() * counts.clamp_min(1))
    return shares[kinds]


def mean_recall(guesses: Int[Tensor, "c n"], kinds: Int[Tensor, "c n"]) -> float:
    """Share of each kind's tokens that are guessed, averaged over the kinds that occur."""
    recalls = [(guesses[kinds == number] == number).float().mean() for number in kinds.unique()]
    return float(torch.stack(recalls).mean())


def explained(predictions: Float[Tensor, "c n k"], targets: Float[Tensor, "c n k"]) -> float:
    """Explained share of the variance over all tokens (R^2)."""
    errors = (predictions - targets).square().sum()
    return float(1 - errors / (targets - targets.mean(dim=(0, 1))).square().sum())

"""Ridge regressions on single tokens: as in `linear`, but for a hundred thousand rows.

    token_ridge(features, targets, weights, at)

`linear.ridge` solves for one unknown for each row, because averaged tokens have more features than there are
clips. Single tokens are many and have few features, so here there is one unknown for each feature. All that
a fit needs are sums over tokens, and those of a fold are added once.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Float64
from torch import Tensor

from vjepa.evaluation.linear import FOLDS, PENALTIES


def token_ridge(
    features: Float[Tensor, "b n f"],
    targets: Float[Tensor, "b n k"],
    weights: Float[Tensor, "b n"],
    at: Float[Tensor, "c n f"],
) -> Float[Tensor, "c n k"]:
    """Ridge regression of `targets` on standardised features, evaluated at the features `at`.

    A weight says how much the squared error of a token counts.
    """
    centre = weighted_mean(features, weights)
    std = weighted_mean((features - centre).square(), weights).sqrt().clamp_min(1e-6)  # may be constant
    offset = weighted_mean(targets, weights)  # the intercept, which is not penalised
    # A fold holds whole clips, so that no clip is fitted and held out at once. They are neighbours, because
    # neighbours may be a clip and its reversal.
    folds = [
        moments((features[rows] - centre) / std, targets[rows] - offset, weights[rows])
        for rows in torch.arange(len(features)).chunk(FOLDS)
    ]
    coefficients = summed(folds).solve(best_penalty(folds)).float()
    return (at - centre) / std @ coefficients + offset


@dataclass(frozen=True)
class Moments:
    """Weighted sums over the tokens of some clips, all that a ridge regression needs of them."""

    xx: Float64[Tensor, "f f"]
    xy: Float64[Tensor, "f k"]
    yy: Float64[Tensor, ""]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)

    def solve(self, penalty: float) -> Float64[Tensor, "f k"]:
        """The coefficients with the least penalised squared error."""
        # In units of the mean diagonal, so that the penalties suit any number of tokens.
        ridge = penalty * self.xx.diagonal().mean() * torch.eye(len(self.xx), dtype=torch.float64)
        return torch.linalg.solve(self.xx + ridge, self.xy)

    def error(self, coefficients: Float64[Tensor, "f k"]) -> float:
        """The sum of squared errors of these coefficients."""
        explained = 2 * self.xy - self.xx @ coefficients
        return float(self.yy - (coefficients * explained).sum())


def weighted_mean(values: Float[Tensor, "b n f"], weights: Float[Tensor, "b n"]) -> Float[Tensor, " f"]:
    return torch.einsum("bnf,bn->f", values, weights) / weights.sum()


def moments(
    features: Float[Tensor, "b n f"], targets: Float[Tensor, "b n k"], weights: Float[Tensor, "b n"]
) -> Moments:
    """Weighted sums over all tokens of these clips."""
    # Doubles, because errors are differences of these sums.
    x = rearrange(features, "b n f -> (b n) f").double()
    y = rearrange(targets, "b n k -> (b n) k").double()
    w = rearrange(weights, "b n -> (b n) 1").double()
    return Moments(x.T @ (w * x), x.T @ (w * y), (w * y.square()).sum())


def summed(folds: list[Moments]) -> Moments:
    return sum(folds[1:], start=folds[0])


def best_penalty(folds: list[Moments]) -> float:
    """The penalty with the least squared error in cross-validation."""
    errors = torch.zeros(len(PENALTIES))
    for i, held in enumerate(folds):
        rest = summed([fold for j, fold in enumerate(folds) if j != i])
        errors += torch.tensor([held.error(rest.solve(penalty)) for penalty in PENALTIES])
    return PENALTIES[int(errors.argmin())]

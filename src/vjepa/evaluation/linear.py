"""Linear read-outs: ridge regressions on averaged tokens, for classes and for numbers.

Every function is fitted on the features and labels of some clips and scored on those of others.
"""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

PENALTIES = (1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0)
"""Candidates, in units of the kernel's mean diagonal, so that they suit any number of features."""
FOLDS = 5
"""Parts of the clips, each held out once to choose the penalty."""


def pool(tokens: Float[Tensor, "b T H W d"], cells: int) -> Float[Tensor, "b f"]:
    """Tokens averaged within each of cells x cells parts of the frame, concatenated over time and parts."""
    T, H, W = tokens.shape[1:4]
    frames = rearrange(tokens, "b T H W d -> (b T) d H W")
    # A small grid may have fewer rows or columns than `cells`.
    means = adaptive_avg_pool2d(frames, (min(cells, H), min(cells, W)))
    return rearrange(means, "(b T) d H W -> b (T H W d)", T=T)


def linear_accuracy(
    fit_features: Float[Tensor, "b f"],
    fit_labels: Int[Tensor, " b"],
    score_features: Float[Tensor, "c f"],
    score_labels: Int[Tensor, " c"],
) -> float:
    """Share of the scored clips whose class a ridge regression finds; clips labelled -1 do not count."""
    fitted = fit_labels >= 0
    scored = score_labels >= 0
    targets = one_hot(fit_labels[fitted]).float()

    scores = ridge(fit_features[fitted], targets, score_features[scored])
    return float((scores.argmax(dim=1) == score_labels[scored]).float().mean())


def few_label_accuracy(
    fit_features: Float[Tensor, "b f"],
    fit_labels: Int[Tensor, " b"],
    score_features: Float[Tensor, "c f"],
    score_labels: Int[Tensor, " c"],
    few: int,
    draws: int,
) -> float:
    """`linear_accuracy` with `few` labels per class, averaged over `draws` fixed random choices of them."""
    accuracies = []
    # The seeds are the same for every encoder, so that encoders are compared on the same labels.
    for seed in range(draws):
        rows = few_of_each_class(fit_labels, few, seed)
        accuracies.append(linear_accuracy(fit_features[rows], fit_labels[rows], score_features, score_labels))
    return sum(accuracies) / draws


def few_of_each_class(labels: Int[Tensor, " b"], few: int, seed: int) -> Int[Tensor, " k"]:
    """Places of `few` random clips of every class."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = [order[labels[order] == label][:few] for label in range(int(labels.max()) + 1)]
    # In their old order, so that neighbours stay neighbours for the folds of `best_penalty`.
    return torch.cat(rows).sort().values


def linear_r2(
    fit_features: Float[Tensor, "b f"],
    fit_targets: Float[Tensor, "b k"],
    score_features: Float[Tensor, "c f"],
    score_targets: Float[Tensor, "c k"],
) -> float:
    """Share of the numbers' variance that a ridge regression explains (R^2), all with the same weight."""
    # Standardised, so that a number in large units does not outweigh the others. Nothing is taken from the
    # scored clips.
    mean = fit_targets.mean(dim=0)
    std = fit_targets.std(dim=0).clamp_min(1e-6)
    targets = (score_targets - mean) / std

    errors = ridge(fit_features, (fit_targets - mean) / std, score_features) - targets
    variance = (targets - targets.mean(dim=0)).square().sum()
    return float(1 - errors.square().sum() / variance)


def ridge(
    features: Float[Tensor, "b f"], targets: Float[Tensor, "b k"], at: Float[Tensor, "c f"]
) -> Float[Tensor, "c k"]:
    """Ridge regression of `targets` on standardised features, evaluated at the features `at`."""
    mean = features.mean(dim=0)
    std = features.std(dim=0).clamp_min(1e-6)  # some features may be constant
    x = (features - mean) / std
    y = (at - mean) / std
    offset = targets.mean(dim=0)  # the intercept, which is not penalised

    # The dual form has one unknown for each clip, not one for each feature: pooled tokens have thousands of
    # features.
    kernel = x @ x.T
    penalty = best_penalty(kernel, targets - offset) * kernel.diagonal().mean()
    dual = torch.linalg.solve(kernel + penalty * torch.eye(len(kernel)), targets - offset)
    return y @ (x.T @ dual) + offset


def best_penalty(kernel: Float[Tensor, "b b"], targets: Float[Tensor, "b k"]) -> float:
    """The penalty with the least squared error in cross-validation.

    A fold is a run of neighbouring rows, because neighbours may be related: a clip and its reversal, or parts
    of one recording. One eigendecomposition of a fold serves all penalties: scikit-learn's RidgeCV with the
    same folds gives the same scores, but solves anew for each penalty and takes four times as long.
    """
    errors = torch.zeros(len(PENALTIES))
    rows = torch.arange(len(kernel))
    for held in rows.chunk(FOLDS):
        rest = rows[(rows < held[0]) | (rows > held[-1])]
        values, vectors = torch.linalg.eigh(kernel[rest][:, rest])
        projected = vectors.T @ targets[rest]

        for i, penalty in enumerate(PENALTIES):
            # Rounding can make the smallest eigenvalues negative.
            shrunk = projected / (values.clamp_min(0) + penalty * values.mean())[:, None]
            predictions = kernel[held][:, rest] @ (vectors @ shrunk)
            errors[i] += (predictions - targets[held]).square().sum()
    return PENALTIES[int(errors.argmin())]

"""Linear."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, one_hot

PENALTIES = (1e-4, 1e-3, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 10.0)  # in units of the kernel's mean diagonal
FOLDS = 5


def pool(tokens: Float[Tensor, "b T H W d"], cells: int) -> Float[Tensor, "b f"]:
    """Tokens averaged within each of cells x cells parts of the frame, concatenated over parts and time."""
    T, H, W = tokens.shape[1:4]
    means = adaptive_avg_pool2d(rearrange(tokens, "b T H W d -> (b T) d H W"), (min(cells, H), min(cells, W)))
    return rearrange(means, "(b T) d H W -> b (T H W d)", T=T)


def linear_accuracy(
    x: Float[Tensor, "b f"], label: Int[Tensor, " b"], y: Float[Tensor, "c f"], wanted: Int[Tensor, " c"]
) -> float:
    """Share of `y` whose class a ridge regression fitted on `x` finds; rows labelled -1 do not count."""
    x, label, y, wanted = x[label >= 0], label[label >= 0], y[wanted >= 0], wanted[wanted >= 0]
    guess = ridge(x, one_hot(label).float(), y)
    return float((guess.argmax(dim=1) == wanted).float().mean())


def few_label_accuracy(
    x: Float[Tensor, "b f"],
    label: Int[Tensor, " b"],
    y: Float[Tensor, "c f"],
    wanted: Int[Tensor, " c"],
    few: int,
    draws: int,
) -> float:
    """The same with `few` labels per class, averaged over fixed random draws of them."""
    found = []
    for draw in range(draws):
        order = torch.randperm(len(label), generator=torch.Generator().manual_seed(draw))
        rows = (
            torch.cat([order[label[order] == number][:few] for number in range(int(label.max()) + 1)])
            .sort()
            .values
        )
        found.append(linear_accuracy(x[rows], label[rows], y, wanted))
    return sum(found) / draws


def explained(
    x: Float[Tensor, "b f"],
    target: Float[Tensor, "b k"],
    y: Float[Tensor, "c f"],
    wanted: Float[Tensor, "c k"],
) -> float:
    """Share of the variance of `wanted` that a ridge regression explains, each number weighing the same (R^2)."""
    mean, std = target.mean(dim=0), target.std(dim=0).clamp_min(1e-6)
    wanted = (wanted - mean) / std
    error = (ridge(x, (target - mean) / std, y) - wanted).square().sum()
    return float(1 - error / (wanted - wanted.mean(dim=0)).square().sum())


def ridge(
    x: Float[Tensor, "b f"], target: Float[Tensor, "b k"], y: Float[Tensor, "c f"]
) -> Float[Tensor, "c k"]:
    """Ridge regression of `target` on standardised features, at `y`. Solved among clips, which are few."""
    mean, std, level = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6), target.mean(dim=0)
    x, y = ((features - mean) / std for features in (x, y))
    kernel = x @ x.T
    penalty = best_penalty(kernel, target - level) * kernel.diagonal().mean()
    dual = torch.linalg.solve(kernel + penalty * torch.eye(len(kernel)), target - level)
    return y @ (x.T @ dual) + level


def best_penalty(kernel: Float[Tensor, "b b"], target: Float[Tensor, "b k"]) -> float:
    """The penalty with the least squared error in cross-validation. A fold is a run of neighbouring rows, because neighbours
    may be related: a clip's reversal, say, or the same recording."""
    errors, rows = torch.zeros(len(PENALTIES)), torch.arange(len(kernel))
    for held in rows.chunk(FOLDS):
        rest = rows[(rows < held[0]) | (rows > held[-1])]
        values, vectors = torch.linalg.eigh(kernel[rest][:, rest])
        projected = vectors.T @ target[rest]
        for i, penalty in enumerate(PENALTIES):
            dual = vectors @ (projected / (values.clamp_min(0) + penalty * values.mean())[:, None])
            errors[i] += (kernel[held][:, rest] @ dual - target[held]).square().sum()
    return PENALTIES[int(errors.argmin())]

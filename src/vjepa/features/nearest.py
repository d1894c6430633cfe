"""Nearest neighbours among features, and how well they vote for labels (k-NN)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from vjepa.data.manifest import Manifest
from vjepa.errors import require
from vjepa.features.files import Features, read_note

ON_THE_FILES = ("videos_digest", "shard", "shards", "format", "dtype", "sources")
"""Entries of a folder's note about its files or its videos; the others decide the kind of its features."""


class Neighbours(NamedTuple):
    """A clip and those that are most like it, by their places among the features, nearest first."""

    query: int
    places: list[int]
    cosines: list[float]


def nearest_clips(manifest: Manifest, features: Features, queries: int, neighbours: int) -> list[Neighbours]:
    """The neighbours of so many queries, which are spread evenly over the clips.

    Raises UserError if the features are not of this manifest.
    """
    check_same_manifest(manifest, features)
    vectors = unit_vectors(features)
    require(len(vectors) > 1, "the features are of one clip, which has no neighbours; give two or more")
    chosen = torch.linspace(0, len(vectors) - 1, min(queries, len(vectors))).round().long()
    # A query is its own nearest clip, which would show nothing.
    cosines, places = nearest(vectors[chosen], vectors, neighbours, without=chosen)
    return list(map(Neighbours, chosen.tolist(), places.tolist(), cosines.tolist()))


def unit_vectors(features: Features, centre: Features | None = None) -> Float[Tensor, "b d"]:
    """Features minus their mean (or that of `centre`), of length 1, so that products are cosines.

    Without the centring all cosines are near 1, because clips have most of their features in common.
    """
    vectors = flat_vectors(features)
    mean = vectors.mean(dim=0) if centre is None else flat_vectors(centre).mean(dim=0)
    return normalize(vectors - mean, dim=1)


def flat_vectors(features: Features) -> Float[Tensor, "b d"]:
    # Files may hold float16, too coarse to sum.
    return torch.from_numpy(features.values.reshape(len(features.values), -1).astype(np.float32))


def nearest(
    queries: Float[Tensor, "q d"],
    vectors: Float[Tensor, "b d"],
    k: int,
    without: Int[Tensor, " q"] | None = None,
) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
    """Cosines and places of the k vectors nearest to each query, nearest first; all are of length 1.

    without: For each query, the place of a vector that does not count, such as the query itself.
    """
    cosines = queries @ vectors.T
    if without is not None:
        # Less than any cosine, so that it comes last.
        cosines[torch.arange(len(queries)), without] = -torch.inf
    # topk refuses more than there are; the vector left out is not one of them.
    most = len(vectors) - (without is not None)
    top = cosines.topk(min(k, most))
    return top.values, top.indices


def knn_predict(
    cosines: Float[Tensor, "q k"], labels: Int[Tensor, "q k"], classes: int, temperature: float = 0.07
) -> Int[Tensor, " q"]:
    """The class with the most weight among neighbours, each of which weighs exp(cosine / temperature)."""
    weights = (cosines / temperature).exp()[..., None]
    return (one_hot(labels, classes) * weights).sum(dim=1).argmax(dim=1)


def knn_accuracy(fitted: Features, scored: Features, k: int = 20) -> float:
    """Share of the scored clips whose label their k nearest fitted clips predict.

    A clip's prediction does not depend on the other scored clips. Raises UserError if shapes differ or labels
    are missing.
    """
    shapes = [features.values.shape[1:] for features in (fitted, scored)]
    require(
        shapes[0] == shapes[1],
        f"features of shape {shapes[0]} and {shapes[1]} cannot be compared; extract both alike",
    )
    require(k > 0, f"k={k}: no neighbour votes; use 1 or more")
    fit_labels = torch.tensor(fitted.columns["label"])
    score_labels = torch.tensor(scored.columns["label"])
    labelled = int(min(fit_labels.min(), score_labels.min())) >= 0
    require(labelled, "k-NN needs labels, and some clips have none")

    # Centred on the fitted clips: with their own mean, scored clips would depend on one another.
    cosines, places = nearest(unit_vectors(scored, centre=fitted), unit_vectors(fitted), k)
    predictions = knn_predict(cosines, fit_labels[places], int(fit_labels.max()) + 1)
    return float((predictions == score_labels).float().mean())


def check_same_manifest(manifest: Manifest, features: Features) -> None:
    """Raise UserError if the features are not of the videos of this manifest."""
    paths = manifest.table["path"].to_pylist()
    clips = zip(features.columns["row"], features.columns["path"], strict=True)
    same = all(row < len(paths) and paths[row] == path for row, path in clips)
    require(same, f"the features are not of {manifest.source}; give the manifest that they were written from")


def check_same_settings(features: Path, scored: Path) -> None:
    """Raise UserError if two folders hold features of different encoders or settings."""
    first = read_note(features)
    second = read_note(scored)
    differ = [
        f"{key}: {value} and {second.get(key)}"
        for key, value in first.items()
        if key not in ON_THE_FILES and value != second.get(key)
    ]
    numbers = first.get("class_numbers") != second.get("class_numbers")
    how = ", with one labels.json beside both lists, which gives a class the same number in both"
    require(
        not differ,
        f"{features} and {scored} hold different features ({'; '.join(differ[:3])}); extract both alike"
        f"{how if numbers else ''}",
    )

"""Nearest."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from vjepa.data.manifest import Manifest
from vjepa.errors import require
from vjepa.features.files import Features, described


def unit_vectors(found: Features, centre: Features | None = None) -> Float[Tensor, "b d"]:
    """Features less their mean (or that of `centre`) and of length 1, so that products are cosines."""
    flat, other = (torch.from_numpy(some.values.reshape(len(some.values), -1).astype(np.float32))
                   for some in (found, centre or found))  # fmt: skip
    return normalize(flat - other.mean(dim=0), dim=1)


def nearest(
    queries: Float[Tensor, "q d"], among: Float[Tensor, "b d"], k: int, but: Int[Tensor, " q"] | None = None
) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
    """Cosine and place of the k nearest of `among`, nearest first. `but` names one of them for each query that does not
    count: itself. Both are of length 1."""
    closeness = queries @ among.T
    if but is not None:
        closeness[torch.arange(len(queries)), but] = -torch.inf
    found = closeness.topk(min(k, len(among) - (but is not None)))
    return found.values, found.indices


def knn_guess(
    closeness: Float[Tensor, "q k"], label: Int[Tensor, "q k"], classes: int, temperature: float = 0.07
) -> Int[Tensor, " q"]:
    """The class with most weight among the neighbours, each weighing exp(cosine / temperature)."""
    weight = (closeness / temperature).exp()[..., None]
    return (one_hot(label, classes) * weight).sum(dim=1).argmax(dim=1)


def knn_accuracy(fitted: Features, scored: Features, k: int = 20) -> float:
    """Share of clips whose label their k nearest clips of `fitted` tell. Of `scored`, one clip's answer depends on no other."""
    shapes = [found.values.shape[1:] for found in (fitted, scored)]
    sentence = f"features of shape {shapes[0]} and {shapes[1]} cannot be compared; extract both with the same settings"
    require(shapes[0] == shapes[1], sentence)
    require(k > 0, f"k={k}: no neighbour votes; use 1 or more")
    label, wanted = (torch.tensor(found.columns["label"]) for found in (fitted, scored))
    require(int(min(label.min(), wanted.min())) >= 0, "k-NN needs labels, and some clips have none")
    closeness, places = nearest(unit_vectors(scored, fitted), unit_vectors(fitted), k)
    return float((knn_guess(closeness, label[places], int(label.max()) + 1) == wanted).float().mean())


def check_manifest(manifest: Manifest, found: Features) -> None:
    paths = manifest.table["path"].to_pylist()
    rows = zip(found.columns["row"], found.columns["path"], strict=True)
    same = all(row < len(paths) and paths[row] == path for row, path in rows)
    require(same, f"the features are not of {manifest.source}; give the manifest that they were written from")


def check_kind(features: Path, scored: Path) -> None:
    """Both folders have to hold the same encoder's features, made alike."""
    one, other = described(features), described(scored)
    keys = [
        key for key in one if key not in ("videos_digest", "shard", "shards", "format", "dtype", "sources")
    ]
    differ = [f"{key}: {one[key]} and {other.get(key)}" for key in keys if one[key] != other.get(key)]
    require(
        not differ,
        f"{features} and {scored} hold different features ({'; '.join(differ[:3])}); extract both alike",
    )

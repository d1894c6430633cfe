"""Clips that look alike: nearest neighbours among features, and what they say about labels.

    python -m vjepa.neighbours --features FOLDER --videos MANIFEST [--picture neighbours.png]

The picture is a contact sheet: a query per row, its middle frame first, then its nearest clips. Clips of the same label have
a green frame, others a grey one. Beside it a k-NN read-out is printed: the share of clips whose label most neighbours share.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from jsonargparse import auto_cli
from torch import Tensor
from torch.nn.functional import normalize, one_hot, pad

from vjepa.data.clips import ClipConfig
from vjepa.data.decode import DecodeError
from vjepa.data.demo_world.video import write_png
from vjepa.data.manifest import Manifest, ManifestError, read_manifest
from vjepa.data.transforms import centre_box, crop
from vjepa.data.views import load_segments
from vjepa.errors import UserError, refuse_unless
from vjepa.feature_files import Features, read_features
from vjepa.locate import locate

GREEN, GREY, WHITE = (60, 180, 75), (170, 170, 170), (255, 255, 255)


def unit_vectors(found: Features) -> Float[Tensor, "b d"]:
    """Features centred on their mean and of length 1, so that products are cosines."""
    flat = torch.from_numpy(found.values.reshape(len(found.values), -1).astype(np.float32))
    return normalize(flat - flat.mean(dim=0), dim=1)


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
    """Share of clips whose label their k nearest clips of `fitted` tell; both folders hold features of the same kind."""
    label, wanted = (torch.tensor(found.columns["label"]) for found in (fitted, scored))
    refuse_unless(int(min(label.min(), wanted.min())) >= 0, "k-NN needs labels, and some clips have none")
    vectors = unit_vectors(Features(np.concatenate([fitted.values, scored.values]), {}))
    closeness, places = nearest(vectors[len(label) :], vectors[: len(label)], k)
    return float((knn_guess(closeness, label[places], int(label.max()) + 1) == wanted).float().mean())


@dataclass(frozen=True)
class Sheet:
    """A contact sheet's size."""

    queries: int = 6
    """Rows, evenly spread over the clips."""
    neighbours: int = 7
    """Clips beside each."""
    pixels: int = 96
    """Side of a picture."""


def contact_sheet(manifest: Manifest, found: Features, sheet: Sheet) -> UInt8[np.ndarray, "h w c"]:
    """Middle frames of queries and of their nearest clips. A row of the manifest's own pair (its reversal) may be there."""
    vectors = unit_vectors(found)
    queries = torch.linspace(0, len(vectors) - 1, min(sheet.queries, len(vectors))).round().long()
    _, places = nearest(vectors[queries], vectors, sheet.neighbours, but=queries)
    label, lines = found.columns["label"], []
    for query, others in zip(queries.tolist(), places.tolist(), strict=True):
        colours = [WHITE, *(GREEN if label[other] == label[query] else GREY for other in others)]
        pictures = [middle_frame(manifest, found.columns["row"][i], sheet.pixels) for i in (query, *others)]
        lines.append(torch.cat([framed(p, c) for p, c in zip(pictures, colours, strict=True)], dim=2))
    return rearrange(torch.cat(lines, dim=1), "c h w -> h w c").contiguous().numpy()


def framed(picture: UInt8[Tensor, "c h w"], colour: tuple[int, int, int]) -> UInt8[Tensor, "c h2 w2"]:
    border = pad(torch.zeros_like(picture[:1]), (4, 4, 4, 4), value=1).bool()
    return torch.where(border, torch.tensor(colour, dtype=torch.uint8)[:, None, None], pad(picture, (4, 4, 4, 4)))


def middle_frame(manifest: Manifest, row: int, size: int) -> UInt8[Tensor, "c h w"]:
    """Grey if the file is gone since."""
    try:
        (frames,) = load_segments(manifest.row(row), ClipConfig(frames=1, size=size, short="hold"), 1)
    except DecodeError:
        return torch.full((3, size, size), 128, dtype=torch.uint8)
    return crop(frames, centre_box(*frames.shape[-2:], 1.0), size, False)[0]


def neighbours(
    features: Path,
    videos: Path,
    picture: Path = Path("neighbours.png"),
    scored: Path | None = None,
    k: int = 20,
    sheet: Sheet = Sheet(),
) -> None:
    """Draw the contact sheet, and tell how well neighbours know labels.

    Args:
        features: Folder written by `python -m vjepa.features`.
        videos: The manifest that it was written from.
        picture: File to write, a PNG.
        scored: Folder of features of other clips, for a k-NN read-out on them.
        k: Neighbours that vote.
        sheet: Size of the picture.
    """
    found = read_features(features)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_png(picture, contact_sheet(read_manifest(locate(videos)), found, sheet))
    print(f"{picture} is written")
    if scored:
        print(f"{k}-NN accuracy of {len(found.values)} clips' labels on the clips of {scored}: "
              f"{knn_accuracy(found, read_features(scored), k):.3f}")  # fmt: skip


if __name__ == "__main__":
    try:
        auto_cli(neighbours, as_positional=False)
    except (UserError, ManifestError) as error:
        sys.exit(f"error: {error}")

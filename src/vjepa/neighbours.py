"""Clips that look alike: nearest neighbours among features, and what they say about labels.

    python -m vjepa.neighbours --features FOLDER --videos MANIFEST [--picture neighbours.png]

The picture is a contact sheet: a query per row, its middle frame first, then its nearest clips; of sliding windows, the frame
at which they begin. Clips of the same label have a green frame, others a grey one. With `--scored` a k-NN read-out is printed:
the share of that folder's clips whose label most neighbours share.
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

from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.demo_world.video import write_png
from vjepa.data.manifest import Manifest, ManifestError
from vjepa.data.windows import Window, WindowClips
from vjepa.errors import UserError, refuse_unless
from vjepa.feature_files import Features, described, read_features
from vjepa.features import listed
from vjepa.locate import locate

GREEN, GREY, WHITE = (60, 180, 75), (170, 170, 170), (255, 255, 255)


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
    refuse_unless(shapes[0] == shapes[1], sentence)
    refuse_unless(k > 0, f"k={k}: no neighbour votes; use 1 or more")
    label, wanted = (torch.tensor(found.columns["label"]) for found in (fitted, scored))
    refuse_unless(int(min(label.min(), wanted.min())) >= 0, "k-NN needs labels, and some clips have none")
    closeness, places = nearest(unit_vectors(scored, fitted), unit_vectors(fitted), k)
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

    def __post_init__(self) -> None:
        sizes = self.queries, self.neighbours, self.pixels
        refuse_unless(min(sizes) > 0, f"sheet: queries, neighbours and pixels are {sizes}; all must be 1 or more")


def contact_sheet(manifest: Manifest, found: Features, sheet: Sheet) -> UInt8[np.ndarray, "h w c"]:
    """Pictures of queries and of their nearest clips. Raises UserError if the features are not of this manifest."""
    refuse_other_manifest(manifest, found)
    vectors = unit_vectors(found)
    queries = torch.linspace(0, len(vectors) - 1, min(sheet.queries, len(vectors))).round().long()
    _, places = nearest(vectors[queries], vectors, sheet.neighbours, but=queries)
    label, lines = found.columns["label"], []
    clips = WindowClips(manifest, list(map(Window, found.columns["row"], found.columns["start"])), still(sheet.pixels))
    for query, others in zip(queries.tolist(), places.tolist(), strict=True):
        colours = [WHITE, *(GREEN if label[other] == label[query] >= 0 else GREY for other in others)]
        pictures = [picture(clips[i], sheet.pixels) for i in (query, *others)]
        lines.append(torch.cat([framed(p, c) for p, c in zip(pictures, colours, strict=True)], dim=2))
    return rearrange(torch.cat(lines, dim=1), "c h w -> h w c").contiguous().numpy()


def framed(picture: UInt8[Tensor, "c h w"], colour: tuple[int, int, int]) -> UInt8[Tensor, "c h2 w2"]:
    border = pad(torch.zeros_like(picture[:1]), (4, 4, 4, 4), value=1).bool()
    return torch.where(border, torch.tensor(colour, dtype=torch.uint8)[:, None, None], pad(picture, (4, 4, 4, 4)))


def still(pixels: int) -> ClipConfig:
    return ClipConfig(frames=1, size=pixels, short="hold")


def picture(sample: Sample, size: int) -> UInt8[Tensor, "c h w"]:
    """Grey if the file is gone since."""
    return torch.full((3, size, size), 128, dtype=torch.uint8) if sample.clip is None else sample.clip[0]


def refuse_other_manifest(manifest: Manifest, found: Features) -> None:
    paths = manifest.table["path"].to_pylist()
    rows = zip(found.columns["row"], found.columns["path"], strict=True)
    same = all(row < len(paths) and paths[row] == path for row, path in rows)
    refuse_unless(same, f"the features are not of {manifest.source}; give the manifest that they were written from")


def refuse_other_kind(features: Path, scored: Path) -> None:
    """Both folders have to hold the same encoder's features, made alike."""
    one, other = described(features), described(scored)
    keys = [key for key in one if key not in ("videos_digest", "shard", "shards", "format", "dtype", "sources")]
    differ = [f"{key}: {one[key]} and {other.get(key)}" for key in keys if one[key] != other.get(key)]
    refuse_unless(not differ, f"{features} and {scored} hold different features ({'; '.join(differ[:3])}); extract both alike")


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
    if scored:
        refuse_other_kind(features, scored)
    found = read_features(features)
    picture.parent.mkdir(parents=True, exist_ok=True)
    write_png(picture, contact_sheet(listed(locate(videos)), found, sheet))
    print(f"{picture} is written")
    if scored:
        print(f"{k}-NN accuracy of {len(found.values)} clips' labels on the clips of {scored}: "
              f"{knn_accuracy(found, read_features(scored), k):.3f}")  # fmt: skip


if __name__ == "__main__":
    try:
        auto_cli(neighbours, as_positional=False)
    except (UserError, ManifestError) as error:
        sys.exit(f"error: {error}")

"""The contact sheet: an image with a query clip in each row, followed by the clips that are most like it."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import pad

from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.manifest import Manifest
from vjepa.data.windows import Window, WindowClips
from vjepa.errors import require
from vjepa.features.files import Features
from vjepa.features.nearest import check_same_manifest, nearest, unit_vectors

Image = UInt8[Tensor, "c h w"]
Colour = tuple[int, int, int]

GREEN: Colour = (60, 180, 75)
GREY: Colour = (170, 170, 170)
WHITE: Colour = (255, 255, 255)
BORDER = 4
"""Pixels of the frame around an image."""


@dataclass(frozen=True)
class SheetConfig:
    """A contact sheet's size."""

    queries: int = 6
    """Rows, evenly spread over the clips."""
    neighbours: int = 7
    """Clips beside each."""
    pixels: int = 96
    """Side of an image."""

    def __post_init__(self) -> None:
        sizes = (self.queries, self.neighbours, self.pixels)
        require(min(sizes) > 0, f"sheet: queries, neighbours and pixels are {sizes}; all must be 1 or more")


def contact_sheet(manifest: Manifest, features: Features, sheet: SheetConfig) -> UInt8[np.ndarray, "h w c"]:
    """Images of queries, each beside its nearest clips; a green frame marks those with the query's label.

    Raises UserError if the features are not of this manifest.
    """
    check_same_manifest(manifest, features)
    vectors = unit_vectors(features)
    queries = torch.linspace(0, len(vectors) - 1, min(sheet.queries, len(vectors))).round().long()
    # A query is its own nearest clip, which would show nothing.
    _, places = nearest(vectors[queries], vectors, sheet.neighbours, without=queries)

    labels = features.columns["label"]
    # A clip of one frame is the frame at which its window begins.
    windows = list(map(Window, features.columns["row"], features.columns["start"]))
    clips = WindowClips(manifest, windows, ClipConfig(frames=1, size=sheet.pixels, short="hold"))
    rows = []
    for query, neighbours in zip(queries.tolist(), places.tolist(), strict=True):
        images = [framed(image_of(clips[query], sheet.pixels), WHITE)]
        for neighbour in neighbours:
            # Two clips without a label (-1) do not have the same one.
            same = labels[neighbour] == labels[query] and labels[query] >= 0
            images.append(framed(image_of(clips[neighbour], sheet.pixels), GREEN if same else GREY))
        rows.append(torch.cat(images, dim=2))
    return rearrange(torch.cat(rows, dim=1), "c h w -> h w c").contiguous().numpy()


def framed(image: Image, colour: Colour) -> UInt8[Tensor, "c h2 w2"]:
    """The image with a coloured border around it."""
    sides = (BORDER,) * 4
    # `pad` fills all channels with one number, so the colour comes in through a mask.
    border = pad(torch.zeros_like(image[:1]), sides, value=1).bool()
    paint = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    return torch.where(border, paint, pad(image, sides))


def image_of(sample: Sample, size: int) -> Image:
    """The sample's frame; grey if its file does not exist any more."""
    if sample.clip is None:
        return torch.full((3, size, size), 128, dtype=torch.uint8)
    return sample.clip[0]

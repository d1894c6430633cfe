"""Contact sheet."""

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
from vjepa.features.nearest import check_manifest, nearest, unit_vectors

GREEN, GREY, WHITE = (60, 180, 75), (170, 170, 170), (255, 255, 255)


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
        require(min(sizes) > 0, f"sheet: queries, neighbours and pixels are {sizes}; all must be 1 or more")


def contact_sheet(manifest: Manifest, found: Features, sheet: Sheet) -> UInt8[np.ndarray, "h w c"]:
    """Pictures of queries and of their nearest clips. Raises UserError if the features are not of this manifest."""
    check_manifest(manifest, found)
    vectors = unit_vectors(found)
    queries = torch.linspace(0, len(vectors) - 1, min(sheet.queries, len(vectors))).round().long()
    _, places = nearest(vectors[queries], vectors, sheet.neighbours, but=queries)
    label, lines = found.columns["label"], []
    clips = WindowClips(
        manifest, list(map(Window, found.columns["row"], found.columns["start"])), still(sheet.pixels)
    )
    for query, others in zip(queries.tolist(), places.tolist(), strict=True):
        colours = [WHITE, *(GREEN if label[other] == label[query] >= 0 else GREY for other in others)]
        pictures = [picture(clips[i], sheet.pixels) for i in (query, *others)]
        lines.append(torch.cat([framed(p, c) for p, c in zip(pictures, colours, strict=True)], dim=2))
    return rearrange(torch.cat(lines, dim=1), "c h w -> h w c").contiguous().numpy()


def framed(picture: UInt8[Tensor, "c h w"], colour: tuple[int, int, int]) -> UInt8[Tensor, "c h2 w2"]:
    border = pad(torch.zeros_like(picture[:1]), (4, 4, 4, 4), value=1).bool()
    return torch.where(
        border, torch.tensor(colour, dtype=torch.uint8)[:, None, None], pad(picture, (4, 4, 4, 4))
    )


def still(pixels: int) -> ClipConfig:
    return ClipConfig(frames=1, size=pixels, short="hold")


def picture(sample: Sample, size: int) -> UInt8[Tensor, "c h w"]:
    """Grey if the file is gone since."""
    return torch.full((3, size, size), 128, dtype=torch.uint8) if sample.clip is None else sample.clip[0]

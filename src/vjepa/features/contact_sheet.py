"""Clips beside their nearest neighbours: as an image, the contact sheet, and as a table."""

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import UInt8

from vjepa.data.clips import ClipConfig, Sample
from vjepa.data.manifest import Manifest
from vjepa.data.windows import Window, WindowClips
from vjepa.drawing.captions import GAP, SMALLEST, framed, joined, text_strip
from vjepa.drawing.outputs import check_picture_size
from vjepa.drawing.palette import INK, RIGHT, WRONG
from vjepa.errors import announce, require
from vjepa.evaluation.confusion import class_names
from vjepa.evaluation.tables import text_table
from vjepa.features.files import Features
from vjepa.features.nearest import Neighbours

Image = UInt8[np.ndarray, "h w 3"]

ROW_GAP = 12
"""White pixels between rows, more than between the images of a row."""


@dataclass(frozen=True)
class SheetConfig:
    """A contact sheet's size."""

    queries: int = 6
    """Rows, evenly spread over the clips."""
    neighbours: int = 5
    """Clips beside each."""
    pixels: int = 128
    """Side of an image."""

    def __post_init__(self) -> None:
        sizes = (self.queries, self.neighbours, self.pixels)
        require(min(sizes) > 0, f"sheet: queries, neighbours and pixels are {sizes}; all must be 1 or more")
        pixels = self.queries * (self.neighbours + 1) * self.pixels**2
        check_picture_size(pixels, f"sheet: queries, neighbours and pixels of {sizes}")


def contact_sheet(manifest: Manifest, features: Features, found: list[Neighbours], pixels: int) -> Image:
    """A row for each query: its image, then its nearest clips, with their labels above and cosines below.

    A green frame marks the query's label, a grey one any other; the query's own frame is dark.
    """
    # A clip of one frame is the frame at which its window begins.
    windows = list(map(Window, features.columns["row"], features.columns["start"]))
    clips = WindowClips(manifest, windows, ClipConfig(frames=1, size=pixels, short="hold"))
    labels = features.columns["label"]
    names = label_names(manifest, features)
    rows = []
    for row in found:
        cells = [cell(image_of(clips[row.query], pixels), INK, names[row.query], "query")]
        for place, cosine in zip(row.places, row.cosines, strict=True):
            # Two clips without a label (-1) do not have the same one.
            same = labels[place] == labels[row.query] and labels[place] >= 0
            image = image_of(clips[place], pixels)
            cells.append(cell(image, RIGHT if same else WRONG, names[place], f"cosine {cosine:.2f}"))
        rows.append(joined(cells, axis=1, gap=GAP))
    return joined(rows, axis=0, gap=ROW_GAP)


def cell(image: Image, colour: str, above: str, below: str) -> UInt8[np.ndarray, "h2 w2 3"]:
    """An image in a coloured frame, with a line of text above and one below."""
    picture = framed(image, colour)
    size = max(SMALLEST, len(image) // 9)
    return joined(
        [text_strip(above, len(picture), size), picture, text_strip(below, len(picture), size)], 0, 0
    )


def label_names(manifest: Manifest, features: Features) -> list[str]:
    """The name of every clip's label as the manifest has it, in words; empty without a label."""
    names = class_names(manifest, int(manifest.labels.max()) + 1)
    return [names[label].replace("_", " ") if label >= 0 else "" for label in features.columns["label"]]


def image_of(sample: Sample, size: int) -> Image:
    """The sample's frame; grey, after a note, if its file cannot be decoded any more."""
    if sample.clip is None:
        announce(f"{sample.bad[0]}; it is drawn grey")
        return np.full((size, size, 3), 128, np.uint8)
    return np.ascontiguousarray(rearrange(sample.clip[0], "c h w -> h w c").numpy())


def neighbour_table(manifest: Manifest, features: Features, found: list[Neighbours]) -> str:
    """A line for each pair of a query and a neighbour: both clips, the neighbour's label and the cosine."""
    clips = list(map(clip_name, features.columns["path"], features.columns["start"]))
    names = label_names(manifest, features)
    lines = [("query", "label", "neighbour", "label", "cosine")]
    for row in found:
        for place, cosine in zip(row.places, row.cosines, strict=True):
            query = (clips[row.query], names[row.query])
            lines.append((*query, clips[place], names[place], f"{cosine:.3f}"))
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    columns = [f"<{width}" for width in widths[:-1]]
    caption = "nearest clips by the cosine of features (1: equal, 0: as unlike as two clips are on average)"
    return text_table(caption, lines, (*columns, ">6"))


def clip_name(path: str, start: float | None) -> str:
    """The path of a clip, and the second at which its window begins if it is a window."""
    return path if start is None else f"{path} at {start:.1f} s"

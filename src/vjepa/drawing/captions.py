"""Text on frames: a header above them, frames beside one another, and tables of pictures with names.

    film = beside([camera, imagined], ["camera", "imagined"])           # t h w 3
    image = picture_table([[a, b], [c, d]], ["lift", "lower"], ["0 s", "1 s"])

Text is drawn with Pillow's built-in font, so no font has to be installed. A text that does not fit is drawn
smaller, and ends with dots where even that is too long.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from vjepa.drawing.palette import INK, PAPER, rgb
from vjepa.errors import require

Picture = UInt8[np.ndarray, "h w 3"]
Frames = UInt8[np.ndarray, "t h w 3"]

SIZE = 14
"""Height of text in pixels."""
SMALLEST = 10
"""Text that is smaller than this cannot be read."""
GAP = 4
"""White pixels between pictures."""
MARGIN = 3
"""White pixels above and below a text, and at its sides."""


def text_strip(
    text: str, width: int, size: int = SIZE, align: Literal["left", "centre", "right"] = "centre"
) -> Picture:
    """One line of dark text on white, `width` pixels wide. Strips of one `size` are equally high."""
    text, font = fitted(text, width - 2 * MARGIN, size)
    image = Image.new("RGB", (width, line_height(size)), PAPER)
    # Pillow's anchors: the horizontal place first, then "middle" of the line.
    anchor, x = {
        "left": ("lm", MARGIN),
        "centre": ("mm", width / 2),
        "right": ("rm", width - MARGIN),
    }[align]
    ImageDraw.Draw(image).text((x, image.height / 2), text, fill=INK, font=font, anchor=anchor)
    return np.asarray(image)


def line_height(size: int = SIZE) -> int:
    """Height in pixels of a strip of text."""
    return round(1.2 * size) + 2 * MARGIN


def fitted(text: str, width: int, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """The text and a font in which it is at most `width` pixels wide."""
    for height in range(max(size, SMALLEST), SMALLEST - 1, -1):
        font = ImageFont.load_default(height)
        if font.getlength(text) <= width:
            return text, font
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "...", font


def text_width(text: str, size: int = SIZE) -> int:
    """Width in pixels of a strip that holds the text in full size."""
    return int(np.ceil(ImageFont.load_default(size).getlength(text))) + 2 * MARGIN


def with_header(frames: Frames, text: str, size: int = SIZE) -> UInt8[np.ndarray, "t h2 w 3"]:
    """The frames with one line of text above each."""
    strip = text_strip(text, frames.shape[2], size)
    above = np.broadcast_to(strip, (len(frames), *strip.shape))
    return np.concatenate([above, frames], axis=1)


def beside(
    columns: Sequence[UInt8[np.ndarray, "_t _h _w 3"]],
    headers: Sequence[str] = (),
    gap: int = GAP,
    size: int = SIZE,
) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """Films beside one another, each under its header. A column of a single frame stands still.

    Raises UserError if the films differ in length or height, or there is not one header for each.
    """
    heights = {column.shape[1] for column in columns}
    lengths = {len(column) for column in columns} - {1}
    require(
        len(heights) == 1 and len(lengths) <= 1,
        "films beside one another must be equally long and high; "
        f"these are {sorted(lengths)} frames long and {sorted(heights)} pixels high",
    )
    require(
        len(headers) in (0, len(columns)), f"{len(headers)} headers for {len(columns)} films; give one each"
    )
    if headers:
        columns = [with_header(film, text, size) for film, text in zip(columns, headers, strict=True)]
    length = max(lengths, default=1)
    return joined([np.broadcast_to(film, (length, *film.shape[1:])) for film in columns], axis=2, gap=gap)


def joined(parts: Sequence[UInt8[np.ndarray, "..."]], axis: int, gap: int) -> UInt8[np.ndarray, "..."]:
    """Arrays one after another along an axis, with so many white pixels between them."""
    space = [(0, 0)] * parts[0].ndim
    space[axis] = (0, gap)
    padded = [np.pad(part, space, constant_values=255) for part in parts[:-1]]
    return np.concatenate([*padded, parts[-1]], axis=axis)


def picture_table(
    pictures: Sequence[Sequence[UInt8[np.ndarray, "_h _w 3"]]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    gap: int = GAP,
    size: int = SIZE,
) -> Picture:
    """One image of rows of pictures, with the rows' names at their left and the columns' names above them.

    All pictures of a row are equally high, all of a column equally wide.
    """
    lines = [joined(row, axis=1, gap=gap) for row in pictures]
    names = list(rows)
    if columns:
        widths = [picture.shape[1] for picture in pictures[0]]
        strips = [text_strip(text, width, size) for text, width in zip(columns, widths, strict=True)]
        lines.insert(0, joined(strips, axis=1, gap=gap))
        names.insert(0, "")
    if rows:
        width = max(text_width(name, size) for name in rows)
        blocks = [name_block(name, len(line), width, size) for name, line in zip(names, lines, strict=True)]
        lines = [joined(pair, axis=1, gap=0) for pair in zip(blocks, lines, strict=True)]
    return joined(lines, axis=0, gap=gap)


def name_block(name: str, height: int, width: int, size: int = SIZE) -> Picture:
    """A name in the middle of a white block, aligned right: it stands beside a row of pictures."""
    strip = text_strip(name, width, size, "right")[:height]
    above = (height - len(strip)) // 2
    return np.pad(strip, ((above, height - len(strip) - above), (0, 0), (0, 0)), constant_values=255)


def enlarged(frames: Frames, height: int, width: int, smooth: bool = True) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """The frames in another size: `smooth` between pixels, or with every pixel as a sharp block."""
    how = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), how)) for frame in frames])


def framed(picture: Picture, colour: str, border: int = GAP) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The picture with a coloured border around it."""
    h, w = picture.shape[:2]
    canvas = np.full((h + 2 * border, w + 2 * border, 3), rgb(colour), np.uint8)
    canvas[border:-border, border:-border] = picture
    return canvas

"""How many pixels a frame may have, and what a file whose frames have more says of them in its header.

A file of some kilobytes can claim, and even hold, a frame that no memory takes.
"""

import re
from functools import partial
from typing import BinaryIO

import av
from PIL import Image, UnidentifiedImageError

MOST_PIXELS = 2**27
"""134 million: 16K video, a panorama of 16,000 x 8,000, the photograph of a camera of 100 megapixels. A frame
of them takes 400 MB. FFmpeg's own limit is twice as high."""

LIMIT = {"max_pixels": str(MOST_PIXELS)}
"""An option for FFmpeg's decoders, which then refuse a larger frame before they make room for it."""

QUICK = {"probesize": "32", "analyzeduration": "0"}
"""Options with which FFmpeg reads the header of a file alone."""


def too_large(file: BinaryIO) -> str | None:
    """Why an open file that FFmpeg refused is too large, by its header; None for all other files."""
    # With the limit FFmpeg decodes nothing, but some of its decoders then do not say the size.
    ways = (partial(pixels_of_video, options=QUICK | LIMIT), partial(pixels_of_video, options=QUICK))
    pixels = next(filter(None, (way(file) for way in (*ways, pixels_of_image))), 0)
    if pixels <= MOST_PIXELS:
        return None
    return f"frames of {pixels:,} pixels, more than the {MOST_PIXELS:,} that are decoded; make them smaller"


def pixels_of_video(file: BinaryIO, options: dict[str, str]) -> int:
    """Those of a frame, by the header; 0 if it does not tell."""
    file.seek(0)
    try:
        with av.open(file, options=options) as container:
            stream = container.streams.best("video")
            return stream.width * stream.height if stream and stream.codec_context else 0
    except (av.FFmpegError, OSError, ValueError):
        return 0


def pixels_of_image(file: BinaryIO) -> int:
    """Those of an image, by its header; 0 if it does not tell."""
    file.seek(0)
    try:
        with Image.open(file) as image:
            return image.width * image.height
    except Image.DecompressionBombError as error:
        return int(re.findall(r"\d+", str(error))[0])  # it is not even opened
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return 0

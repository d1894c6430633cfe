"""How many pixels a frame may have, and what a file whose frames have more says of them in its header.

A file of some kilobytes can claim, and even hold, a frame that no memory takes.
"""

import re
import struct
from functools import partial
from typing import BinaryIO

import av
from PIL import Image, UnidentifiedImageError

MOST_PIXELS = 2**27
"""134 million: 16K video, a panorama of 16,000 x 8,000, the photograph of a camera of 100 megapixels. A frame
of them takes 400 MB. FFmpeg's own limit is twice as high."""

MOST_BYTES = 3 * MOST_PIXELS
"""Those of a frame as it is stored. Some pixels have 8 bytes, and a file of some kilobytes may hold them."""

PNG_HEADER = struct.Struct(">16xIIBB")
"""Width, height, bits of a channel, and which channels there are."""

PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Grey, RGB, a palette, and the first two with transparency."""

LIMIT = {"max_pixels": str(MOST_PIXELS)}
"""An option for FFmpeg's decoders, which then refuse a larger frame before they make room for it."""

QUICK = {"probesize": "32", "analyzeduration": "0"}
"""Options with which FFmpeg reads the header of a file alone."""

FETCHING = {"concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"}
"""Formats that are lists of other files, or of addresses in a network."""

ALONE = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(name for name in sorted(av.formats_available) if name not in FETCHING),
}
"""Options with which FFmpeg reads the file that it is given, and opens nothing that is named in it."""


def too_large(file: BinaryIO) -> str | None:
    """Why an open file that FFmpeg refused is too large, by its header; None for all other files."""
    # With the limit FFmpeg decodes nothing, but some of its decoders then do not say the size.
    ways = (partial(pixels_of_video, options=QUICK | ALONE | limit) for limit in (LIMIT, {}))
    pixels = next(filter(None, (way(file) for way in (*ways, pixels_of_image))), 0)
    if pixels <= MOST_PIXELS:
        return None
    return f"frames of {pixels:,} pixels, more than the {MOST_PIXELS:,} that are decoded; make them smaller"


def too_heavy(pixels: int, bits: int) -> str | None:
    """Why frames of so many pixels, of so many bits, take too much memory; None if they do not.

    Frames of too many pixels are left to FFmpeg, which refuses them by `LIMIT`."""
    if pixels > MOST_PIXELS or pixels * bits <= 8 * MOST_BYTES:
        return None
    each = f"frames of {pixels:,} pixels of {bits // 8} bytes"
    return f"{each}, more than the {MOST_BYTES:,} bytes that are decoded; make them smaller"


def heavy_png(begin: bytes) -> str | None:
    """Why a PNG takes too much memory, by its first bytes: to open it, FFmpeg decodes it."""
    if len(begin) < PNG_HEADER.size or not begin.startswith(b"\x89PNG"):
        return None
    width, height, depth, channels = PNG_HEADER.unpack_from(begin)
    return too_heavy(width * height, max(8, depth) * PNG_CHANNELS.get(channels, 4))


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

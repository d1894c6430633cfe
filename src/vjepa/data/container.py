"""Opens one file: its video stream, or one sentence that says why there is none; and what its format can be
trusted with."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from io import BufferedIOBase
from numbers import Rational

import av
from av.stream import Discard, Disposition

from vjepa.data.decode_error import DecodeError
from vjepa.data.frame_size import ALONE, LIMIT, heavy_png, too_heavy
from vjepa.data.media import Media, content_of, ffmpeg_source
from vjepa.data.reading import note_file

# Tags that are not UTF-8 are no reason to refuse a video. PyAV 19 escapes them by itself.
LENIENT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}

INDEXED = {"mov", "matroska"}
"""MP4, MOV, MKV, WebM: a seek leads to the right key frame."""

SEARCHED = {"mpegts", "avi", "flv", "asf"}
"""A seek leads to the right key frame if the clock never jumps. Every packet is looked at once to find out.
Files of all other formats are decoded from their start: in MPEG program streams, for one, seeks go astray."""

COUNTED = {"avi", "asf", "mxf"}
"""These have a constant rate, and the times of decoding only. Where frames are reordered, FFmpeg guesses
their stamps, so they are counted."""

JUMPY = {"mpegts", "mpeg"}
"""The clocks of these may jump forward, where two recordings were joined. In all others a gap is a gap."""

HEADER_BYTES = 64
"""Those of a file that tell how large the image in it is."""

HEADERS = {
    "flv": rb"FLV\x01[\0-\x05]\0\0\0\t\0{4}",
    "asf": re.escape(bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    "ogg": rb"OggS\0\x02.{22}(\x80theora|OVP80)",
    "apng": rb"\x89PNG\r\n\x1a\n",
    "ivf": rb"DKIF\0\0 \0",
    "rm": rb"\.RMF\0\0\0\x12",
}
"""How a file of these formats begins. FFmpeg does not read on where a second one begins in the same file."""


def open_container(path: Media) -> av.container.InputContainer:
    """Open the file for its video stream alone. Raises DecodeError if it is empty or has no video stream."""
    note_file(str(path))
    if path.is_file() and path.stat().st_size == 0:
        raise DecodeError(path, "the file is empty")
    # One reads from a pipe or a device for ever.
    if path.exists() and not path.is_file():
        raise DecodeError(path, "a directory, a pipe or a device, not a file")

    source = ffmpeg_source(path)
    if reason := heavy_png(beginning(path, source)):
        raise DecodeError(path, reason)

    container = av.open(source, options=LIMIT | ALONE, **LENIENT)
    try:
        stream = container.streams.best("video")
        check_stream(path, container, stream)
        check_weight(path, stream.codec_context)
    except DecodeError:
        container.close()
        raise
    # The demuxer then skips sound and all other streams.
    for other in container.streams:
        other.discard = Discard.default if other is stream else Discard.all

    # Threads cost 5 to 25 % more CPU a clip. More workers use the cores better.
    stream.codec_context.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    stream.codec_context.options = LIMIT
    return container


def check_stream(path: Media, container: av.container.InputContainer, stream: av.VideoStream | None) -> None:
    """Raise DecodeError unless there is a video stream, and a decoder for it."""
    if container.format.name == "tty":
        # FFmpeg would draw the letters on a screen of 80 x 25.
        raise DecodeError(path, "a text file")
    if stream is None or is_cover(stream):
        kinds = sorted({"a cover picture" if is_cover(each) else each.type for each in container.streams})
        raise DecodeError(
            path, f"no video stream, only {' and '.join(kinds)}" if kinds else "no streams at all"
        )
    if stream.codec_context is None:
        raise DecodeError(path, "no decoder for its video stream")


def beginning(path: Media, source: str | BufferedIOBase) -> bytes:
    """The first bytes of a file. What FFmpeg will read is read here, where that is an open file."""
    if isinstance(source, str):
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    begin = source.read(HEADER_BYTES)
    source.seek(0)
    return begin


def check_weight(path: Media, context: av.VideoCodecContext) -> None:
    """Raise DecodeError if a frame takes too much memory."""
    bits = context.format.padded_bits_per_pixel if context.format else 0
    if reason := too_heavy(context.width * context.height, bits):
        raise DecodeError(path, reason)


def check_not_joined(path: Media, container: av.container.InputContainer) -> None:
    """Raise DecodeError if it is several MP4, FLV, WMV, ... files in a row: FFmpeg would show the first."""
    if format_is(container, {"mov"}):
        files = list(box_names(path)).count(b"moov")
    else:
        header = HEADERS.get(container.format.name)
        files = count(header, path) if header else 1
    if files > 1:
        advice = f"join them with `ffmpeg -f concat -i list.txt -c copy joined{path.suffix}`"
        raise DecodeError(
            path, f"{files} files joined byte by byte, of which only the first can be shown: {advice}"
        )


def count(header: bytes, path: Media) -> int:
    """How often the pattern `header` occurs in the file."""
    with content_of(path) as content:
        return sum(1 for _ in re.finditer(header, content, re.DOTALL))


def box_names(path: Media) -> Iterator[bytes]:
    """The names of the outermost boxes of an MP4 file."""
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size = int.from_bytes(header[:4])
            if size == 1:  # too large for four bytes
                size = int.from_bytes(header[8:])
            if size < 8:
                return
            yield header[4:8]
            file.seek(size - len(header), os.SEEK_CUR)


def is_cover(stream: av.stream.Stream) -> bool:
    """Whether the stream is the picture of an album or a film, which players show beside its name."""
    return bool(stream.disposition & Disposition.attached_pic)


def format_is(container: av.container.InputContainer, names: set[str]) -> bool:
    """Whether the file's format is among `names`. FFmpeg has several names for one, such as mov,mp4,m4a."""
    return not names.isdisjoint(container.format.name.split(","))


def may_seek(stream: av.VideoStream, first: av.VideoFrame) -> bool:
    """Whether a decoder knows at a key frame all that it needs. `first` is the first frame."""
    # A palette is sent once, and lost by a seek. FFmpeg's encoder of RPZA marks every frame as a key frame.
    return first.format.name != "pal8" and stream.codec_context.codec.canonical_name != "rpza"


def is_still(container: av.container.InputContainer, stream: av.VideoStream) -> bool:
    """Whether it is an image, which is shown for ever."""
    name = container.format.name
    is_image_file = name == "image2" or name.endswith("_pipe")
    return is_image_file or bool(stream.disposition & Disposition.still_image)


def rate_of(stream: av.VideoStream) -> Fraction:
    """Average frames per second. A stream may say nothing about it; 25 is then as good as any guess."""
    clock = 1 / fraction(stream.time_base)
    for rate in (fraction(stream.average_rate), fraction(stream.guessed_rate)):
        # Where FFmpeg finds no rate it may give the ticks of the clock, such as 90,000 a second.
        if rate and (rate < clock or clock < 10_000):
            return rate
    return Fraction(25)


def fraction(value: Rational | None) -> Fraction | None:
    """The same number as a Fraction. PyAV 19 has a type of its own, which can hold 0/0."""
    return Fraction(value.numerator, value.denominator) if value and value.denominator else None

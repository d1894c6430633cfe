"""What is found out once about a video file: when it begins and ends, and whether to trust a seek in it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice

import av

from vjepa.data import container as formats
from vjepa.data.container import format_is
from vjepa.data.decode_error import DecodeError
from vjepa.data.stream_reader import StreamReader, tick_of
from vjepa.data.timeline import Stamp, carried_on, falls, likely_rate, steady_span

LONGEST_GAP = 10
"""Seconds and frames: a gap longer than both is a jump of the clock, in formats whose clocks jump."""

FRAMES_TRIED = 24
"""Packets, and frames, that are looked at to see whether stamps rise."""

NOTHING_TO_SHOW = "no frame can be shown: the video stream is empty, or holds no key frame to begin at"


@dataclass(frozen=True)
class Facts:
    """When the first frame is shown and the last one leaves the screen, in ticks."""

    first_tick: int
    end_tick: int | Fraction
    size: tuple[int, int]
    """Width and height of the first frame, as stored."""

    rate: Fraction
    """Frames per second."""

    ticks: tuple[int, ...] | None = None
    """When each frame is shown, where seeks cannot be trusted; None where they can."""


def survey(reader: StreamReader) -> Facts:
    """The facts of a file that was just opened. Raises DecodeError if nothing can be shown, or if the file is
    shorter than its header promises."""
    packets = reader.packets_from_start()
    ahead = packets_until_one_falls(packets) if reader.stream.codec_context.has_b_frames else []
    frames = reader.decode(chain(ahead, packets))
    first = next(frames, None)
    if first is None:
        raise DecodeError(reader.path, NOTHING_TO_SHOW)
    size = (first.width, first.height)
    formats.check_not_joined(reader.path, reader.container)
    if reader.still:
        return Facts(0, 0, size, reader.rate, ticks=(0,))

    counted = stamps_are_guesses(reader)
    shuffled = not counted and stamps_are_shuffled(ahead, chain([first], frames))
    trusted = not counted and not shuffled and formats.may_seek(reader.stream, first)
    end = end_where_seekable(reader, first) if trusted else None
    if end is not None:
        facts = Facts(tick_of(first), end, size, reader.rate)
    else:
        ticks, lasts = ticks_of_all_frames(reader, counted, shuffled)
        measure_rate(reader, len(ticks), ticks[-1] - ticks[0])
        facts = Facts(ticks[0], ticks[-1] + (lasts or reader.frame_ticks), size, reader.rate, ticks)
    check_promise(reader, facts)
    return facts


def stamps_are_guesses(reader: StreamReader) -> bool:
    """Whether FFmpeg had to guess when frames are shown."""
    return format_is(reader.container, formats.COUNTED) and reader.stream.codec_context.has_b_frames


def packets_until_one_falls(packets: Iterator[av.Packet]) -> list[av.Packet]:
    """The first packets, up to one that is shown before its predecessor: the usual case, soon reached."""
    read = []
    for packet in islice(packets, FRAMES_TRIED):
        read.append(packet)
        if falls([packet.pts for packet in read[-2:]]):
            break
    return read


def stamps_are_shuffled(packets: Sequence[av.Packet], frames: Iterator[av.VideoFrame]) -> bool:
    """Whether frames have their stamps in the order of decoding, as where a raw stream was copied into a
    container. Then the stamps of `packets` rise, and those of the frames in them do not."""
    if not packets or falls([packet.pts for packet in packets]):
        return False
    return falls([frame.pts for frame in islice(frames, FRAMES_TRIED)])


def end_where_seekable(reader: StreamReader, first: av.VideoFrame) -> int | Fraction | None:
    """When the last frame leaves the screen, by what packets say; None if seeks cannot be trusted."""
    if format_is(reader.container, formats.INDEXED):
        # Where the first frame is not the first shown, or is shown late, the header counts something else.
        if reader.frames_are_counted and tick_of(first) == reader.stream.start_time == 0:
            return reader.stream.duration
        # Only the packets near the promised end are read, or all of them where seeking leads nowhere.
        near_end = reader.packets_from(int(promised_end(reader) - reader.end_tolerance))
        last = next(near_end, None)
        if last is not None:
            return steady_end(reader, chain([last], near_end))
    elif not format_is(reader.container, formats.SEARCHED):
        return None
    reader.rewind()
    return steady_end(reader, reader.packets())


def steady_end(reader: StreamReader, packets: Iterator[av.Packet]) -> int | Fraction | None:
    """When the last frame leaves the screen; None if the clock ever jumps in these packets."""
    span = steady_span(stamps(reader, packets), longest_gap(reader))
    if span is None:
        return None
    measure_rate(reader, span.frames, span.last - span.first)
    # Matroska need not say how long a frame lasts.
    return span.last + (span.last_lasts or reader.frame_ticks)


def stamps(reader: StreamReader, packets: Iterator[av.Packet]) -> Iterator[Stamp]:
    """What packets say of their frames."""
    # Matroska has no times of decoding: FFmpeg guesses them.
    has_decoded = not format_is(reader.container, {"matroska"})
    for packet in packets:
        # Packets that an edit list hides are never shown; an empty packet only ends the stream.
        if packet.size and not packet.is_discard:
            decoded = packet.dts if has_decoded else None
            yield Stamp(packet.pts, packet.duration or 0, decoded, packet.is_keyframe)


def measure_rate(reader: StreamReader, frames: int, ticks: int) -> None:
    """Correct a rate that is far off: of an MPEG stream, FFmpeg has looked at the beginning only."""
    if not format_is(reader.container, formats.INDEXED):
        reader.rate = likely_rate(reader.rate, frames, ticks, reader.seconds_per_tick)


def ticks_of_all_frames(reader: StreamReader, counted: bool, shuffled: bool) -> tuple[tuple[int, ...], int]:
    """When each frame is shown, and how long the last one lasts (0 if it is unknown). Decodes them all."""
    reader.rewind()
    frames = [(frame.pts, frame.duration or 0) for frame in reader.decode(reader.packets_from_start())]
    if shuffled:
        # The n-th stamp is that of the n-th frame shown.
        frames.sort(key=lambda frame: -math.inf if frame[0] is None else frame[0])
    found, lasts = map(list, zip(*frames, strict=True))
    # A program stream may give a stamp to one frame in many, and not always to the right one.
    if counted or 2 * found.count(None) > len(found):
        found[1:] = [None] * (len(found) - 1)
        lasts[-1] = 0
    return tuple(carried_on(found, reader.frame_ticks, longest_gap(reader))), lasts[-1]


def longest_gap(reader: StreamReader) -> Fraction | float:
    """The most ticks between two frames without a jump of the clock."""
    if not format_is(reader.container, formats.JUMPY):
        return math.inf
    return max(LONGEST_GAP / reader.seconds_per_tick, LONGEST_GAP * reader.frame_ticks)


def promised_start(reader: StreamReader) -> int:
    """The tick from which the header counts: 0, or that of the first packet, which need not be shown."""
    return 0 if format_is(reader.container, {"matroska", "flv"}) else reader.stream.start_time or 0


def promised_end(reader: StreamReader) -> Fraction:
    """The tick at which the file ends by its header."""
    lasts = Fraction(reader.container.duration or 0, av.time_base)
    return promised_start(reader) + lasts / reader.seconds_per_tick


def check_promise(reader: StreamReader, facts: Facts) -> None:
    """Raise DecodeError if the file is shorter than its header promises."""
    # MPEG streams have no header. Beside a sound track the promise may be the sound's.
    if format_is(reader.container, formats.JUMPY) or len(reader.container.streams) > 1:
        return
    # An AVI that went through a pipe has a placeholder: 2^30 frames, of which each would need eight bytes.
    if format_is(reader.container, {"avi"}) and reader.stream.frames > reader.path.stat().st_size / 8:
        return
    promised = promised_end(reader)
    if promised > facts.end_tick + reader.end_tolerance:
        lengths = [end - promised_start(reader) for end in (promised, facts.end_tick)]
        seconds = [float(length * reader.seconds_per_tick) for length in lengths]
        # FLV does not say how long its last frame stays.
        cause = "cut off, or its last frame is held" if format_is(reader.container, {"flv"}) else "cut off"
        raise DecodeError(reader.path, "{}: {:.3f} s promised, {:.3f} s there".format(cause, *seconds))

"""The video stream of one file: opens it, seeks to key frames, and decodes the frames shown at given ticks.

A tick is the unit of the stream's own clock, `seconds_per_tick` long. `vjepa.data.decode` wraps this in
seconds and arrays, and turns every error that PyAV raises here into a DecodeError.
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.stream import Discard, Disposition

from vjepa.data.decode_error import DecodeError

# Tags that are not UTF-8 are no reason to refuse a video. PyAV 19 escapes them by itself.
LENIENT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}

ROUNDING = Fraction(51, 100_000)
"""Seconds. Matroska keeps whole milliseconds, so a frame may be stamped half of one late."""

STEPS_BACK = (0, 1, 8, 64)
"""Seconds. Many indices hold decoding times, so the key frame that is found may be shown too late. Then the
search starts again further back."""


class VideoStream:
    """The best video stream of a file. `open` it before anything else, `close` it at the end.

    first_tick        when the first frame is shown
    seconds_per_tick  an exact fraction
    rate              average frames per second
    still             whether it is an image, which is shown for ever
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.container = None
        self.last_decoded = None
        """Decoding time of the last packet that was given to the decoder."""

    def open(self) -> None:
        """Open the file and find its first frame."""
        self._rewind()
        self.first_tick = self._find_first_tick()

    def close(self) -> None:
        """Close the file at once: PyAV's reference cycles would hold it until a garbage collection."""
        if self.container is not None:
            self.container.close()

    def tick_at(self, seconds: float) -> int:
        """The last tick that has begun `seconds` after the first frame."""
        if self.still:
            return self.first_tick
        return self.first_tick + math.floor((Fraction(float(seconds)) + ROUNDING) / self.seconds_per_tick)

    def seconds_at(self, tick: int | Fraction) -> float:
        """Seconds since the first frame."""
        return float((tick - self.first_tick) * self.seconds_per_tick)

    def end_tick(self) -> int | Fraction:
        """When the last frame leaves the screen, by the header if it counts frames, else by the last packets.

        Raises DecodeError if the file is shorter than its header promises."""
        if self._frames_are_counted():
            return self.first_tick + self.stream.duration

        # Only the packets near the promised end are read, or all of them where seeking leads nowhere.
        promised = Fraction(self.container.duration or 0, av.time_base) / self.seconds_per_tick
        ends = []
        if promised:
            ends = self._packet_ends(self._packets_from(self.first_tick + int(promised)))
        if not ends:
            self._rewind()
            ends = self._packet_ends(self.container.demux(self.stream))
        end = max(ends)  # B-frames: the last packet need not be the last frame

        # Beside a sound track the promise may be the sound's. In Matroska it counts from 0, not from the
        # first frame.
        if len(self.container.streams) == 1 and promised > end + self._end_tolerance():
            promised_seconds = float(promised * self.seconds_per_tick)
            reason = f"cut off: {promised_seconds:.3f} s promised, {self.seconds_at(end):.3f} s there"
            raise DecodeError(self.path, reason)
        return end

    def frames_at(self, ticks: Sequence[int]) -> Iterator[av.VideoFrame]:
        """The frame on screen at each of the rising `ticks`. Never holds more than two frames."""
        # A frame stays on screen until the next one, so one frame is read ahead.
        frame = following = None
        frames = iter(())
        for tick in ticks:
            # A key frame on the way: to seek there is cheaper than to decode all frames before it.
            if frame is None or (following is not None and self._key_frame_between(tick_of(following), tick)):
                frames = self._frames_from(tick)
                frame = next(frames, None)
                following = next(frames, None)
            while following is not None and tick_of(following) <= tick:
                frame = following
                following = next(frames, None)
            # Only the end of the file can be wrong: between two frames the first one is on screen.
            if following is None:
                self._check_not_cut_off(frame, tick)
            yield frame

    # Opening

    def _rewind(self) -> None:
        """Open the file, or open it again: the one way back to the start that every format has."""
        self.close()
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise DecodeError(self.path, "the file is empty")

        # With "file:" a colon in a name names no protocol, and FFmpeg opens no network address from a file.
        self.container = av.open(f"file:{self.path}", **LENIENT)
        self.stream = self.container.streams.best("video")
        self._check_stream()
        # The demuxer then skips sound and all other streams.
        for stream in self.container.streams:
            stream.discard = Discard.default if stream is self.stream else Discard.all

        # Threads cost 5 to 25 % more CPU a clip. More workers use the cores better.
        self.stream.codec_context.thread_type = "NONE"
        self.stream.codec_context.thread_count = 1

        self.seconds_per_tick = self.stream.time_base
        # A stream may say nothing about its rate; 25 is then as good as any guess.
        self.rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        self.still = self._is_still()

    def _check_stream(self) -> None:
        """Raise DecodeError unless there is a video stream, and a decoder for it."""
        if self.container.format.name == "tty":
            # FFmpeg would draw the letters on a screen of 80 x 25.
            raise DecodeError(self.path, "a text file")
        if self.stream is None or self.stream.disposition & Disposition.attached_pic:
            kinds = sorted({stream.type for stream in self.container.streams}) or ["nothing"]
            raise DecodeError(self.path, f"no video stream, only {', '.join(kinds)}")
        if self.stream.codec_context is None:
            raise DecodeError(self.path, "no decoder for its video stream")

    def _is_still(self) -> bool:
        name = self.container.format.name
        is_image_file = name == "image2" or name.endswith("_pipe")
        return is_image_file or bool(self.stream.disposition & Disposition.still_image)

    # What packets say without being decoded

    def _find_first_tick(self) -> int:
        """When the first frame is shown. Not `start_time`, which in AVI is when its decoding starts."""
        packets = self.container.demux(self.stream)
        # Packets that an edit list hides are decoded and never shown; an empty packet only ends the stream.
        first = next((packet for packet in packets if packet.size and not packet.is_discard), None)
        if first is None:
            raise DecodeError(self.path, "the video stream holds no frames")
        return tick_of(first)

    def _frames_are_counted(self) -> bool:
        """Whether the header has a list of the frames (MP4, MOV, AVI)."""
        return bool(self.stream.duration and self.stream.frames)

    def _frame_ticks(self) -> Fraction:
        """How long a frame lasts on average."""
        return 1 / (self.rate * self.seconds_per_tick)

    def _end_tolerance(self) -> Fraction:
        """Ticks by which the end may be off: how long the last frame lasts is often unknown."""
        return max(Fraction(1, 4), 3 / self.rate) / self.seconds_per_tick

    def _packet_ends(self, packets: Iterator[av.Packet]) -> list[int | Fraction]:
        """When each packet's frame leaves the screen. Matroska need not say how long a frame lasts."""
        shown = (packet for packet in packets if packet.size and not packet.is_discard)
        return [tick_of(packet) + (packet.duration or self._frame_ticks()) for packet in shown]

    # How frames are found

    def _packets_from(self, tick: int) -> Iterator[av.Packet]:
        """Packets from a key frame that is shown at or before `tick`; none if seeking does not lead there."""
        try:
            self.container.seek(tick, stream=self.stream)
        except (av.FFmpegError, OSError):
            return iter(())
        packets = self.container.demux(self.stream)
        key = next((packet for packet in packets if packet.is_keyframe), None)
        # Later is no start: the frames of an open GOP before the key frame would lack what they refer to.
        return iter(()) if key is None or tick_of(key) > tick else chain([key], packets)

    def _frames_from(self, tick: int) -> Iterator[av.VideoFrame]:
        """Frames in the order of display, from one that is shown at or before `tick` if there is any."""
        for seconds in STEPS_BACK:
            frames = self.decode(self._packets_from(tick - int(seconds / self.seconds_per_tick)))
            first = next(frames, None)
            if first is not None and tick_of(first) <= tick:
                return chain([first], frames)
        self._rewind()
        return self.decode(self.container.demux(self.stream))

    def decode(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
        """The frames of these packets, in the order of display."""
        for packet in packets:
            # FFmpeg marks a packet that the file cuts off as corrupt, so `last_decoded` stays before it.
            if packet.size and not packet.is_corrupt:
                self.last_decoded = packet.dts
            yield from packet.decode()

    def _key_frame_between(self, tick: int, later: int) -> bool:
        """Whether a key frame lies between two moments: then seeking saves decoding all frames before it."""
        index = self.stream.index_entries
        entry = index.search_timestamp(later)
        return entry >= 0 and index[entry].timestamp > tick + self._frame_ticks()

    def _check_not_cut_off(self, frame: av.VideoFrame | None, tick: int) -> None:
        """Raise DecodeError if `frame`, the last of the file, is off the screen long before `tick`."""
        if frame is None:
            raise DecodeError(self.path, "the video stream holds no frame that can be decoded")
        if self.still:
            return

        end = tick_of(frame) + (frame.duration or 0)
        # The header lists every packet: the file is cut off if the last of them never came to the decoder.
        index = self.stream.index_entries
        packets_missing = (
            self._frames_are_counted() and len(index) and self.last_decoded < index[len(index) - 1].timestamp
        )
        if tick >= end and (packets_missing or tick > end + self._end_tolerance()):
            stop = f"the frames stop at {self.seconds_at(end):.3f} s"
            raise DecodeError(self.path, f"cut off: {stop}, before {self.seconds_at(tick):.3f} s")


def tick_of(packet_or_frame: av.Packet | av.VideoFrame) -> int:
    """When it is shown. AVI has only the time of decoding."""
    tick = packet_or_frame.pts if packet_or_frame.pts is not None else packet_or_frame.dts
    if tick is None:
        raise ValueError("its frames carry no time stamps")
    return tick

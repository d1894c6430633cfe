"""The frames of one file that are shown at given ticks, found by seeking where that can be trusted.

A tick is the unit of the stream's own clock, `seconds_per_tick` long. `vjepa.data.decode` wraps this in
seconds and arrays, and turns every error that PyAV raises here into a DecodeError.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from vjepa.data.decode_error import DecodeError
from vjepa.data.stream_reader import StreamReader, tick_of
from vjepa.data.survey import NOTHING_TO_SHOW, Facts, survey

STEPS_BACK = (0, 1, 8, 64)
"""Seconds. Many indices hold decoding times, so the key frame that is found may be shown too late. Then the
search starts again further back."""

LEAST_SKIPPED = 2
"""Seconds that are rather decoded than skipped by a seek that may lead nowhere."""

FACTS: dict[tuple[Path, int, int], Facts] = {}
"""Facts by path, size and time of modification, so that a file is looked through once in a process."""

MOST_FACTS = 50_000

Shown = tuple[int, av.VideoFrame]
"""A frame, and the tick at which it is shown."""


class VideoStream(StreamReader):
    """The best video stream of a file. `open` it before anything else, `close` it at the end.

    facts   when it begins and ends
    """

    _frames: Iterator[Shown] = iter(())
    """The frames after `_following`."""
    _shown: Shown | None = None
    """The frame that was on screen at the last tick asked for; None where nothing was read yet."""
    _following: Shown | None = None
    """The next one: a frame stays on screen until it comes. None at the end of the file."""
    _key = 0
    """Tick of the last key frame that was read."""
    _reach = 0
    """The most ticks from a key frame to a frame that were read."""

    def open(self) -> None:
        """Open the file, and look through it unless this process did so before."""
        self.rewind()
        state = self.path.stat()
        key = (self.path, state.st_size, state.st_mtime_ns)
        if key not in FACTS:
            if len(FACTS) >= MOST_FACTS:
                FACTS.clear()
            FACTS[key] = survey(self)
        self.facts = FACTS[key]
        self.rate = self.facts.rate

    @property
    def rounding(self) -> Fraction:
        """Seconds by which a frame may be stamped late: Matroska keeps whole milliseconds, so the first frame
        and another one may be off by half of one each. At a high rate it is a quarter of a frame."""
        return min(Fraction(1, 1000), 1 / (4 * self.rate))

    def tick_at(self, seconds: float) -> int:
        """The last tick that has begun `seconds` after the first frame."""
        if self.still:
            return self.facts.first_tick
        ticks = (Fraction(float(seconds)) + self.rounding) / self.seconds_per_tick
        return self.facts.first_tick + math.floor(ticks)

    def seconds_at(self, tick: int | Fraction) -> float:
        """Seconds since the first frame."""
        return float((tick - self.facts.first_tick) * self.seconds_per_tick)

    def close(self) -> None:
        self._shown = None
        self._following = None
        self._frames = iter(())
        super().close()

    def frame_at(self, tick: int) -> av.VideoFrame:
        """The frame on screen at `tick`. Never holds more than two frames.

        It reads on from the frame of the last call, and seeks where that is cheaper, or where `tick` is
        earlier. So rising ticks read the file once, however many calls they come in."""
        shown = self._shown
        following = self._following
        self._shown = None  # after an error the next call starts anew
        if shown is None or tick < shown[0] or self._seek_pays(tick):
            self._frames = self._frames_from(tick)
            shown = next(self._frames, None)
            following = next(self._frames, None)
        while following is not None and following[0] <= tick:
            shown = following
            self._note_key_frame(shown)
            following = next(self._frames, None)
        # Only the end of the file can be wrong: between two frames the first one is on screen.
        if following is None:
            self._check_not_cut_off(shown, tick)
        self._shown = shown
        self._following = following
        return shown[1]

    def _frames_from(self, tick: int) -> Iterator[Shown]:
        """Frames in the order of display, from one that is shown at or before `tick` if there is any."""
        if self.facts.ticks is not None:
            self.rewind()
            return zip(self.facts.ticks, self.decode(self.packets_from_start()), strict=False)

        for seconds in STEPS_BACK:
            frames = self._stamped(self.packets_from(tick - int(seconds / self.seconds_per_tick)))
            first = next(frames, None)
            if first is not None and first[0] <= tick:
                return chain([first], frames)
        self.rewind()
        return self._stamped(self.packets_from_start())

    def _stamped(self, packets: Iterator[av.Packet]) -> Iterator[Shown]:
        return ((tick_of(frame), frame) for frame in self.decode(packets))

    def _note_key_frame(self, shown: Shown) -> None:
        if shown[1].key_frame:
            self._key = shown[0]
        self._reach = max(self._reach, shown[0] - self._key)

    def _seek_pays(self, tick: int) -> bool:
        """Whether a key frame lies on the way to `tick`: then seeking saves decoding all frames before it."""
        if self.facts.ticks is not None or self._following is None:
            return False
        read = self._following[0]
        index = self.stream.index_entries
        entry = index.search_timestamp(tick)
        if entry >= 0 and index[entry].timestamp > read + self.frame_ticks:
            return True
        # Some files list their key frames up to a point only, or not at all. A way that is longer than all
        # ways from a key frame to the next so far most likely passes another one.
        is_listed = len(index) and index[len(index) - 1].timestamp >= tick
        return not is_listed and tick - read > max(self._reach, LEAST_SKIPPED / self.seconds_per_tick)

    def _check_not_cut_off(self, shown: Shown | None, tick: int) -> None:
        """Raise DecodeError if `shown`, the last frame of the file, is off the screen long before `tick`."""
        if shown is None:
            raise DecodeError(self.path, NOTHING_TO_SHOW)
        # Where seeks cannot be trusted, all frames were decoded once.
        if self.facts.ticks is not None:
            return

        end = shown[0] + (shown[1].duration or 0)
        # The header lists every packet: the file is cut off if the last of them never came to the decoder.
        index = self.stream.index_entries
        packets_missing = (
            self.frames_are_counted and len(index) and self.last_decoded < index[len(index) - 1].timestamp
        )
        if tick >= end and (packets_missing or tick > end + self.end_tolerance):
            stop = f"the frames stop at {self.seconds_at(end):.3f} s"
            raise DecodeError(self.path, f"cut off: {stop}, before {self.seconds_at(tick):.3f} s")

"""Reads packets and frames of the video stream of one file, from its start or from a key frame."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, dropwhile

import av

from vjepa.data.container import JUMPY, format_is, fraction, is_still, open_container, rate_of
from vjepa.data.decode_error import DecodeError, reason_of
from vjepa.data.media import Media
from vjepa.data.reading import note_file


class StreamReader:
    """The best video stream of a file. `rewind` before anything else, `close` at the end.

    seconds_per_tick  an exact fraction
    rate              average frames per second
    still             whether it is an image, which is shown for ever
    """

    def __init__(self, path: Media) -> None:
        self.path = path
        self.container = None
        self.rate = Fraction(0)
        self.last_decoded = None
        """Decoding time of the last packet that was given to the decoder."""

    def rewind(self) -> None:
        """Open the file, or open it again: the one way back to the start that every format has."""
        self.close()
        self.container = open_container(self.path)
        self.stream = self.container.streams.best("video")
        self.seconds_per_tick = fraction(self.stream.time_base)
        self.rate = self.rate or rate_of(self.stream)
        self.still = is_still(self.container, self.stream)

    def close(self) -> None:
        """Close the file at once: PyAV's reference cycles would hold it until a garbage collection."""
        if self.container is not None:
            self.container.close()
        note_file(None)

    @property
    def frame_ticks(self) -> Fraction:
        """How long a frame lasts on average."""
        return 1 / (self.rate * self.seconds_per_tick)

    @property
    def frames_are_counted(self) -> bool:
        """Whether the header has a list of the frames (MP4, MOV, AVI)."""
        return bool(self.stream.duration and self.stream.frames)

    @property
    def end_tolerance(self) -> Fraction:
        """Ticks by which the end may be off: how long the last frame lasts is often unknown."""
        return max(Fraction(1, 4), 3 / self.rate) / self.seconds_per_tick

    def packets(self) -> Iterator[av.Packet]:
        """All packets from here on."""
        return self.container.demux(self.stream)

    def packets_from_start(self) -> Iterator[av.Packet]:
        """Packets from the first key frame: decoders show noise for what comes before it. `rewind` first."""
        return dropwhile(lambda packet: not packet.is_keyframe, self.packets())

    def packets_from(self, tick: int) -> Iterator[av.Packet]:
        """Packets from a key frame that is shown at or before `tick`; none if seeking does not lead there."""
        try:
            self.container.seek(tick, stream=self.stream)
        except (av.FFmpegError, OSError):
            return iter(())
        packets = self.packets()
        key = next((packet for packet in packets if packet.is_keyframe), None)
        # Later is no start: the frames of an open GOP before the key frame would lack what they refer to.
        return iter(()) if key is None or tick_of(key) > tick else chain([key], packets)

    def decode(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
        """The frames of these packets, in the order of display."""
        # FFmpeg marks a packet that the file cuts off as corrupt. One that was received so may be shown.
        was_received = format_is(self.container, JUMPY)
        for packet in packets:
            if packet.is_corrupt and not was_received:
                continue
            if packet.size and not packet.is_corrupt:
                self.last_decoded = packet.dts
            try:
                yield from packet.decode()
            except av.InvalidDataError as error:
                if not was_received:
                    raise
                reason = f"{reason_of(error)}. If files were joined: they must have one codec"
                raise DecodeError(self.path, reason) from error


def tick_of(packet_or_frame: av.Packet | av.VideoFrame) -> int:
    """When it is shown. A file may have only times of decoding."""
    tick = packet_or_frame.pts if packet_or_frame.pts is not None else packet_or_frame.dts
    if tick is None:
        raise ValueError("its frames carry no time stamps")
    return tick

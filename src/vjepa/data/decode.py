"""The pictures on screen at given moments of a video, whatever the file.

    with open_video(path) as video:
        clip = video.frames([1.0, 1.25, 1.5, 1.75])     # uint8, t h w c

Frames are chosen by time stamp, never by number: the frame shown at `t` is the last one that has started by then, so a
clip has the same speed at 24, 25 and 29.97 frames a second and where the rate varies. Times are seconds since the first
frame, whatever the file's own clock says. Only what the clip needs is decoded, in the thread of the caller.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.stream import Discard, Disposition
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8

from vjepa.errors import UserError

ROUNDING = Fraction(
    51, 100_000
)  # seconds: Matroska keeps whole milliseconds, so a frame may be stamped half of one late
STEPS_BACK = (
    0,
    1,
    8,
    64,
)  # seconds: many indices hold decoding times, so the key frame found may be shown too late

QUARTER_TURNS = (
    ((1, 0), (0, 1)),
    ((0, -1), (1, 0)),
    ((-1, 0), (0, -1)),
    ((0, 1), (-1, 0)),
)  # counter-clockwise


class DecodeError(UserError):
    """A file that is not what it should be: `path` says which, `reason` says why."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(path, reason)  # both, so that the error survives being pickled out of a worker
        self.path, self.reason = Path(path), reason

    def __str__(self) -> str:
        return f"cannot decode {self.path}: {self.reason}"


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except DecodeError:
        raise
    except Exception as error:  # PyAV raises at least six unrelated types on broken files
        raise DecodeError(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (
        f"corrupt, cut off or no video: {words}"
        if isinstance(error, av.InvalidDataError | EOFError)
        else words
    )


class Video:
    """One video stream of one file, open for reading. A context manager; outside `with`, call `close`.

    A picture file (png, jpeg, webp, ...) is a video that stands still: it never ends and its `fps` is 0.
    Every property and method raises DecodeError where the file does not hold what it promises.
    """

    start = 0.0
    """Seconds: time runs from the first frame."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._container = self._end = self._sight = self._reached = None
        self._reformatter = VideoReformatter()
        try:
            with _reported(self.path):
                self._open()
                self._zero = self._first_tick()
        except DecodeError:
            self.close()
            raise

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back at once: PyAV's reference cycles would hold it until a garbage collection."""
        if self._container is not None:
            self._container.close()

    @property
    def end(self) -> float:
        """Seconds: when the last frame leaves the screen."""
        if self._end is None:
            with _reported(self.path):
                self._end = math.inf if self._still else float((self._last_tick() - self._zero) * self._base)
        return self._end

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start

    @property
    def fps(self) -> float:
        """Average frames per second: counted by the header, else guessed from the first frames."""
        return 0.0 if self._still else float(self._rate)

    @property
    def codec(self) -> str:
        """FFmpeg's name, such as h264."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def width(self) -> int:
        """Pixels, once upright. Pixels that are not square stay as they are."""
        return self._look()[0]

    @property
    def height(self) -> int:
        """Pixels, once upright."""
        return self._look()[1]

    @property
    def rotation(self) -> int:
        """Degrees clockwise (0, 90, 180 or 270) by which the stored frames were turned upright."""
        return self._look()[2]

    def frames(self, times: Float[np.ndarray, "t"] | Sequence[float | int]) -> UInt8[np.ndarray, "t h w c"]:
        """The pictures on screen at `times`: seconds in [0, end), in any order, repeats allowed. RGB, upright."""
        times = np.asarray(times, dtype=np.float64)
        if times.size == 0:
            raise ValueError("frames needs at least one time")
        self._check_inside(times)
        with _reported(self.path):
            return self._clip(times)

    # How the file is opened

    def _open(self) -> None:
        self.close()
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise DecodeError(self.path, "the file is empty")
        # "file:", so that a colon in a name is no protocol: from a file FFmpeg opens no network address either.
        self._container = av.open(f"file:{self.path}", metadata_errors="replace")
        self._stream = self._container.streams.best("video")
        self._check_stream()
        for other in self._container.streams:
            other.discard = Discard.default if other is self._stream else Discard.all
        self._stream.codec_context.thread_type = (
            "NONE"  # threads cost 5-25 % more CPU a clip: add workers instead
        )
        self._stream.codec_context.thread_count = 1
        self._base = self._stream.time_base
        self._rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        self._still = self._is_still()

    def _check_stream(self) -> None:
        if self._container.format.name == "tty":
            raise DecodeError(
                self.path, "a text file"
            )  # which FFmpeg would draw on a screen of 80 x 25 letters
        if self._stream is None or self._stream.disposition & Disposition.attached_pic:
            kinds = sorted({stream.type for stream in self._container.streams}) or ["nothing"]
            raise DecodeError(self.path, f"no video stream, only {', '.join(kinds)}")
        if self._stream.codec_context is None:
            raise DecodeError(self.path, "no decoder for its video stream")

    def _is_still(self) -> bool:
        name = self._container.format.name
        return (
            name == "image2"
            or name.endswith("_pipe")
            or bool(self._stream.disposition & Disposition.still_image)
        )

    def _first_tick(self) -> int:
        """When the first frame is shown. Not `start_time`, which in AVI is when its decoding starts."""
        first = next((p for p in self._container.demux(self._stream) if p.size and not p.is_discard), None)
        if first is None:
            raise DecodeError(self.path, "the video stream holds no frames")
        return _tick(first)

    def _last_tick(self) -> int | Fraction:
        """Where the last frame ends: told by a header that has counted the frames, else seen in the last packets."""
        if self._counted():
            return self._zero + self._stream.duration
        promised = Fraction(self._container.duration or 0, av.time_base) / self._base
        ends = self._ends(self._seek(self._zero + int(promised))) if promised else []
        if not ends:
            self._open()
            ends = self._ends(self._container.demux(self._stream))
        # Beside a sound track the promise may be the sound's; and Matroska's runs from 0, not from the first frame.
        if len(self._container.streams) == 1 and promised > max(ends) + self._slack():
            there, said = (float(ticks * self._base) for ticks in (max(ends) - self._zero, promised))
            raise DecodeError(self.path, f"cut off: {said:.3f} s promised, {there:.3f} s there")
        return max(ends)

    def _counted(self) -> bool:
        """Whether the header has a list of the frames (MP4, MOV, AVI)."""
        return bool(self._stream.duration and self._stream.frames)

    def _slack(self) -> Fraction:
        """Ticks by which the end may be off: how long the last frame lasts is often unknown."""
        return max(Fraction(1, 4), 3 / self._rate) / self._base

    def _ends(self, packets: Iterator[av.Packet]) -> list[int | Fraction]:
        frame = 1 / (self._rate * self._base)  # Matroska need not tell how long a frame lasts
        return [_tick(p) + (p.duration or frame) for p in packets if p.size and not p.is_discard]

    # How frames are found

    def _seek(self, tick: int) -> Iterator[av.Packet]:
        """Packets from a key frame shown at or before `tick`; none where the file has no way to get there."""
        try:
            self._container.seek(tick, stream=self._stream)
        except (av.FFmpegError, OSError):
            return iter(())
        packets = self._container.demux(self._stream)
        key = next((packet for packet in packets if packet.is_keyframe), None)
        # Too late a key frame is refused: the open GOP before it would be decoded without what it refers to.
        return iter(()) if key is None or _tick(key) > tick else chain([key], packets)

    def _play(self, tick: int) -> Iterator[av.VideoFrame]:
        """Frames in order of display, from one that is shown at or before `tick` if there is any."""
        for seconds in STEPS_BACK:
            pictures = self._decode(self._seek(tick - int(seconds / self._base)))
            first = next(pictures, None)
            if first is not None and _tick(first) <= tick:
                return chain([first], pictures)
        self._open()  # nowhere to seek to: from the start
        return self._decode(self._container.demux(self._stream))

    def _decode(self, packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
        for packet in packets:
            if packet.size and not packet.is_corrupt:
                self._reached = packet.dts
            yield from packet.decode()

    def _shown(self, ticks: Sequence[int]) -> Iterator[av.VideoFrame]:
        """The frame on screen at each of the rising `ticks`. Never holds more than two frames."""
        frame = ahead = None
        for tick in ticks:
            if frame is None or (ahead is not None and self._key_between(_tick(ahead), tick)):
                pictures = self._play(tick)
                frame, ahead = next(pictures, None), next(pictures, None)
            while ahead is not None and _tick(ahead) <= tick:
                frame, ahead = ahead, next(pictures, None)
            if ahead is None:
                self._check_reached(frame, tick)
            yield frame

    def _key_between(self, here: int, tick: int) -> bool:
        """Whether the index knows a key frame between two moments: then jumping saves decoding all before it."""
        index = self._stream.index_entries
        entry = index.search_timestamp(tick)
        return entry >= 0 and index[entry].timestamp > here + 1 / (self._rate * self._base)

    def _check_inside(self, times: Float[np.ndarray, "t"]) -> None:
        outside = times[~((times >= 0) & (times < self.end + float(ROUNDING)))]
        if outside.size:
            raise DecodeError(
                self.path, f"time {outside[0]:.3f} s is outside the video (0 to {self.end:.3f} s)"
            )

    def _check_reached(self, frame: av.VideoFrame | None, tick: int) -> None:
        """At the end of the file: is the last frame long enough, or were more promised?"""
        if frame is None:
            raise DecodeError(self.path, "the video stream holds no frame that can be decoded")
        last, listed = _tick(frame) + (frame.duration or 0), self._stream.index_entries
        unread = self._counted() and len(listed) and self._reached < listed[len(listed) - 1].timestamp
        if not self._still and tick >= last and (unread or tick > last + self._slack()):
            stops, wanted = (float((x - self._zero) * self._base) for x in (last, tick))
            raise DecodeError(
                self.path, f"cut off: the pictures stop at {stops:.3f} s, before {wanted:.3f} s"
            )

    # How frames become arrays

    def _clip(self, times: Float[np.ndarray, "t"]) -> UInt8[np.ndarray, "t h w c"]:
        order = np.argsort(times, kind="stable")
        ticks = [self._tick_at(times[slot]) for slot in order]
        clip = frame = picture = None
        for slot, shown in zip(order, self._shown(ticks), strict=True):
            if shown is not frame:
                frame, picture = shown, self._rgb(shown)
            if clip is None:
                clip = np.empty((len(times), *picture.shape), np.uint8)
            if picture.shape != clip.shape[1:]:
                raise DecodeError(
                    self.path, f"the size changes from {clip.shape[2:0:-1]} to {picture.shape[1::-1]}"
                )
            clip[slot] = picture
        return clip

    def _tick_at(self, seconds: float) -> int:
        if self._still:
            return self._zero
        return self._zero + math.floor((Fraction(float(seconds)) + ROUNDING) / self._base)

    def _rgb(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w c"]:
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        return _upright(rgb, _display_matrix(frame))

    def _look(self) -> tuple[int, int, int]:
        """Width, height and rotation, which only a decoded frame tells."""
        if self._sight is None:
            with _reported(self.path):
                frame = next(self._shown([self._zero]))
                (a, b), _ = _display_matrix(frame)
                turned = abs(b) > abs(a)
                size = (frame.height, frame.width) if turned else (frame.width, frame.height)
                self._sight = (*size, -frame.rotation % 360)
        return self._sight


def open_video(path: str | Path) -> Video:
    """Open a video or a picture file. Raises DecodeError if it cannot be read or holds no video."""
    return Video(path)


def decode_frames(
    path: str | Path, times: Float[np.ndarray, "t"] | Sequence[float | int]
) -> UInt8[np.ndarray, "t h w c"]:
    """The pictures on screen at `times` (seconds since the first frame, any order), RGB and upright.

    Raises DecodeError if the file is broken or a time is outside it.
    """
    with open_video(path) as video:
        return video.frames(times)


def _tick(packet_or_frame: av.Packet | av.VideoFrame) -> int:
    """Display time in units of the stream's clock; AVI has only the order of decoding."""
    tick = packet_or_frame.pts if packet_or_frame.pts is not None else packet_or_frame.dts
    if tick is None:
        raise ValueError("its frames carry no time stamps")
    return tick


def _display_matrix(frame: av.VideoFrame) -> tuple[tuple[int, int], tuple[int, int]]:
    """((a, b), (c, d)): the stored pixel (x, y) belongs at (a x + c y, b x + d y), up to a shift and a scale."""
    try:
        # Not `frame.side_data`: that makes a reference cycle which keeps the picture until a garbage collection.
        found = [data for data in SideDataContainer(frame) if data.type == Type.DISPLAYMATRIX]
    except (
        ValueError
    ):  # PyAV 18 cannot list side data of a kind newer than itself, such as EXIF: mirroring is lost
        return QUARTER_TURNS[round(frame.rotation / 90) % 4]
    if not found:
        return QUARTER_TURNS[0]
    a, b, _, c, d = np.frombuffer(found[0], np.int32)[:5].tolist()
    return (a, b), (c, d)


def _upright(rgb: UInt8[np.ndarray, "h0 w0 c"], matrix: tuple) -> UInt8[np.ndarray, "h w c"]:
    """Turn and mirror by the quarter turn nearest to `matrix`."""
    (a, b), (c, d) = matrix
    if abs(b) > abs(a):
        rgb, a, d = rgb.transpose(1, 0, 2), c, b
    return rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]

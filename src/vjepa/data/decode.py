"""The frames on screen at given moments of a video, whatever the file.

    with open_video(path) as video:
        clip = video.frames([1.0, 1.25, 1.5, 1.75])     # uint8, t h w c

Frames are chosen by time stamp, never by number: the frame shown at `t` is the last one that has started by
then, so a clip has the same speed at 24, 25 and 29.97 frames a second and where the rate varies. (The
released loader takes every n-th frame: 3.8 to 4.1 a second where 4 are asked for.) Times are seconds since
the first frame, whatever the file's own clock says. Only what the clip needs is decoded, in the
thread of the caller. A video that is read forwards, in however many calls, is decoded once.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8

from vjepa.data.decode_error import DecodeError, as_decode_error
from vjepa.data.media import opened
from vjepa.data.orientation import display_matrix, is_sideways, upright
from vjepa.data.stored import OpenMedia, Stored
from vjepa.data.transforms import Frames
from vjepa.data.video_stream import VideoStream

Image = UInt8[np.ndarray, "h w c"]
Change = Callable[[Frames], UInt8[np.ndarray, "t *shape"]]
"""What is made of frames as soon as they are decoded, such as a crop."""

AT_ONCE = 2**24
"""Bytes of whole frames that lie in memory at once: a few for which it pays to change them together."""
LATE = 0.5
"""Seconds by which an annotated segment may end after its video: many annotations are rounded."""


class Video:
    """One video of one file, open for reading. A context manager; outside `with`, call `close`.

    An image file (png, jpeg, webp, ...) is a video that stands still: it never ends and its `fps` is 0.
    Every property and method raises DecodeError if the file does not hold what it promises.
    """

    start = 0.0
    """Seconds: time runs from the first frame."""

    def __init__(self, path: str | Path | Stored) -> None:
        self.path = path if isinstance(path, Stored) else Path(path)
        with as_decode_error(self.path):
            self.media = opened(path)
        self.stream = VideoStream(self.media)
        # One converter for all frames, because it keeps its tables from frame to frame.
        self._reformatter = VideoReformatter()
        try:
            with as_decode_error(self.media):
                self.stream.open()
        except DecodeError:
            # The caller has no Video yet that it could close.
            self.close()
            raise

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stream.close()
        if isinstance(self.media, OpenMedia):
            self.media.close()

    @property
    def end(self) -> float:
        """Seconds: when the last frame leaves the screen."""
        return math.inf if self.stream.still else self.stream.seconds_at(self.stream.facts.end_tick)

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.end - self.start

    @property
    def fps(self) -> float:
        """Average frames per second: counted by the header, else guessed from the first frames."""
        return 0.0 if self.stream.still else float(self.stream.rate)

    @property
    def codec(self) -> str:
        """FFmpeg's name, such as h264."""
        return self.stream.stream.codec_context.codec.canonical_name

    @property
    def width(self) -> int:
        """Pixels, once upright. Pixels that are not square stay as they are."""
        return self._size_and_rotation[0]

    @property
    def height(self) -> int:
        """Pixels, once upright."""
        return self._size_and_rotation[1]

    @property
    def rotation(self) -> int:
        """Degrees clockwise (0, 90, 180 or 270) by which the stored frames are turned upright."""
        return self._size_and_rotation[2]

    def segment(self, start: float | None, end: float | None) -> tuple[float, float]:
        """Seconds from `start` to `end`; None is the video's own start or end, and a late end is cut.

        Raises DecodeError if the segment reaches further past the video's end."""
        start = self.start if start is None else start
        end = self.end if end is None else end
        if start >= self.end or end > self.end + LATE:
            reason = f"the segment {start:g} to {end:g} s reaches past the video's end at {self.end:g} s"
            raise DecodeError(self.path, reason)
        return start, min(end, self.end)

    def frames(
        self, times: Float[np.ndarray, "t"] | Sequence[float | int], change: Change | None = None
    ) -> UInt8[np.ndarray, "t *shape"]:
        """The frames on screen at `times`: seconds in [0, end), in any order, repeats allowed. RGB, upright.

        change: Makes something smaller of each frame. It is given some of them at a time, so that a clip of
            large frames never lies in memory whole. All frames have the size of the first.

        Raises ValueError without any time, and DecodeError if a time is outside the video."""
        times = np.asarray(times, dtype=np.float64)
        if times.size == 0:
            raise ValueError("frames needs at least one time")
        # A stream is read forwards, so the times are visited in rising order; each image has its own slot.
        order = np.argsort(times, kind="stable")
        images = self.images(times[order], change)
        first = next(images)  # only an image tells the size
        clip = np.empty((len(times), *first.shape), first.dtype)
        for slot, image in zip(order, chain([first], images), strict=True):
            clip[slot] = image
        return clip

    def images(
        self, times: Float[np.ndarray, "t"], change: Change | None = None
    ) -> Iterator[UInt8[np.ndarray, "*shape"]]:
        """The same one by one, for rising `times`. Where a frame is on screen at several of them, the same
        array comes again."""
        self._check_inside(times)
        for frames, places in self._some(times):
            made = list(change(frames) if change else frames)
            yield from (made[place] for place in places)

    def _some(self, times: Float[np.ndarray, "t"]) -> Iterator[tuple[Frames, list[int]]]:
        """Some frames at a time, each once, and for each of their times the place of its frame."""
        images: list[Image] = []
        places: list[int] = []
        for image in self._decoded(times):
            if not images or image is not images[-1]:
                if images and (len(images) + 1) * image.nbytes > AT_ONCE:
                    yield stacked(images), places
                    images = []
                    places = []
                images.append(image)
            places.append(len(images) - 1)
        if images:
            yield stacked(images), places

    def _check_inside(self, times: Float[np.ndarray, "t"]) -> None:
        # Negated, so that NaN is outside too. `tick_at` adds the same rounding to a time.
        outside = times[~((times >= 0) & (times < self.end + float(self.stream.rounding)))]
        if outside.size:
            reason = f"time {outside[0]:.3f} s is outside the video (0 to {self.end:.3f} s)"
            raise DecodeError(self.path, reason)

    def _decoded(self, times: Float[np.ndarray, "t"]) -> Iterator[Image]:
        converted = None
        shape = None
        with as_decode_error(self.path):
            for time in times:
                frame = self.stream.frame_at(self.stream.tick_at(time))
                # A frame that is on screen at several of the times is converted once.
                if frame is not converted:
                    converted = frame
                    image = self._rgb(frame)
                # Only a converted frame tells the size: turned upright, height and width may be exchanged.
                shape = shape or image.shape
                if image.shape != shape:
                    raise DecodeError(self.path, "the video is turned on its side while it plays")
                yield image

    def _rgb(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "h w c"]:
        # A stream may change its size: then its frames are scaled to the size of the first one.
        width, height = self.stream.facts.size
        # One thread, because every worker of a loader converts frames of its own.
        rgb = self._reformatter.reformat(frame, width, height, format="rgb24", threads=1).to_ndarray()
        return upright(rgb, display_matrix(frame, self.codec))

    @cached_property
    def _size_and_rotation(self) -> tuple[int, int, int]:
        """Width, height and rotation, which only a decoded frame tells."""
        with as_decode_error(self.path):
            frame = self.stream.frame_at(self.stream.facts.first_tick)
            size = (frame.width, frame.height)  # as stored
            width, height = size[::-1] if is_sideways(display_matrix(frame, self.codec)) else size
            return width, height, -frame.rotation % 360  # PyAV counts counter-clockwise


def stacked(images: list[Image]) -> Frames:
    """The images as one array; a single one, which may be large, is not copied."""
    return np.stack(images) if len(images) > 1 else images[0][None]


def open_video(path: str | Path | Stored) -> Video:
    """Open a video or an image file. Raises DecodeError if it cannot be read or holds no video."""
    return Video(path)


def decode_frames(
    path: str | Path, times: Float[np.ndarray, "t"] | Sequence[float | int]
) -> UInt8[np.ndarray, "t h w c"]:
    """The frames on screen at `times` (seconds since the first frame, any order), RGB and upright.

    Raises DecodeError if the file is broken or a time is outside it.
    """
    with open_video(path) as video:
        return video.frames(times)

"""Clips of one video that follow one another, or overlap: every frame is decoded, and cropped, once.

with open_video(path) as video:
    reader = ForwardReader(video, partial(centre_square, size=256))
    first = reader.clip([0.0, 0.5, 1.0], later=[0.5, 1.0, 1.5])     # uint8, t h w c
    second = reader.clip([0.5, 1.0, 1.5])                            # decodes 1.5 alone
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from vjepa.data.decode import Change, Image, Video


class ForwardReader:
    """Reads clips of an open video, and keeps the images that a later clip shows again.

    video: Stays open as long as clips are read.
    change: What is made of frames, such as a crop.
    """

    def __init__(self, video: Video, change: Change) -> None:
        self.video = video
        self.change = change
        self._kept: dict[float, Image] = {}

    def clip(
        self, times: Float[np.ndarray, " t"] | Sequence[float], later: Float[np.ndarray, " u"] | Sequence = ()
    ) -> UInt8[np.ndarray, "t h w c"]:
        """The images at `times`, seconds that rise.

        later: Seconds of the clips that come next. What lies among `times` is kept, and nothing else.

        Clips in any order are right; those that rise cost least. Raises DecodeError."""
        times = np.asarray(times, np.float64)
        later = np.asarray(later, np.float64)
        again = later[(later >= times[0]) & (later <= times[-1])]
        new = [time for time in np.union1d(times, again).tolist() if time not in self._kept]
        made = self.video.images(np.array(new), self.change)
        images = self._kept | dict(zip(new, made, strict=True))
        self._kept = {time: images[time] for time in again.tolist()}
        return np.stack([images[time] for time in times.tolist()])

"""Every frame asked for alone is the frame of a full decode, whatever the container, the codec and the start.

The suite takes as many cases as it needs for every pair of two factors to occur. The whole matrix takes two
minutes:

    python -m tests.data.test_containers
"""

import itertools
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import av
import numpy as np
import pytest

from tests.videos import read_stamps, stamp
from vjepa.data.decode import decode_frames, open_video
from vjepa.data.decode_error import DecodeError

FRAMES = 40
RATE = 25

CODECS = {
    "h264": ("libx264", "yuv420p", {"x264-params": "bframes=0:scenecut=0"}),
    "h264 with B": ("libx264", "yuv420p", {"x264-params": "bframes=3:b-pyramid=normal:scenecut=0"}),
    "hevc": ("libx265", "yuv420p", {"x265-params": "log-level=none:bframes=3:scenecut=0"}),
    "mpeg2": ("mpeg2video", "yuv420p", {"bf": "2", "b": "2M", "sc_threshold": "1000000000"}),
    "mpeg4": ("mpeg4", "yuv420p", {"bf": "2", "b": "2M", "sc_threshold": "1000000000"}),
    "vp8": ("libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", "yuv420p", {"preset": "12", "svtav1-params": "lp=1:pred-struct=1"}),
    "mjpeg": ("mjpeg", "yuvj420p", {}),
    "prores": ("prores_ks", "yuv422p10le", {}),
    "ffv1": ("ffv1", "yuv420p", {}),
    "gif": ("gif", "rgb8", {}),
}

HOLDS = {
    "mp4": set(CODECS) - {"vp8", "prores", "gif"},
    "mov": {"h264", "h264 with B", "hevc", "mpeg2", "mpeg4", "mjpeg", "prores"},
    "mkv": set(CODECS) - {"gif"},
    "webm": {"vp8", "vp9", "av1"},
    "avi": set(CODECS) - {"hevc", "prores", "gif"},
    "ts": {"h264", "h264 with B", "hevc", "mpeg2", "mpeg4"},
    "mpg": {"h264", "h264 with B", "hevc", "mpeg2", "mpeg4"},
    "flv": {"h264", "h264 with B", "hevc", "vp9", "av1"},
    "gif": {"gif"},
}
"""The codecs that a container can hold. For every other one FFmpeg refuses to write it, or to read it back.
(MOV can hold GIF, but FFmpeg then shows what the edit list hides.)"""

GOPS = (1, 12, 250)

STARTS = ("key frame", "between", "in a packet", "late", "cut off")
"""Where the file begins: at a key frame; at the sixth packet; within a packet, as a recording does, or where
an edit list hides the first frames; five seconds late. "cut off" lacks the last quarter."""

RECORDED = ("ts", "mpg")
EDITED = ("mp4", "mov")
HIDDEN = 7
"""Frames that the edit list hides."""


class Case(NamedTuple):
    container: str
    codec: str
    gop: int
    start: str

    @property
    def possible(self) -> bool:
        # MP4 has no mark for a file without any key frame: its muxer then marks every frame as one.
        is_a_lie = self.container in EDITED and self[1:] == ("mpeg4", 250, "between")
        return self.codec in HOLDS[self.container] and not is_a_lie

    @property
    def named(self) -> str:
        return ", ".join(map(str, self))


def write(case: Case, path: Path) -> int | None:
    """Write the case. The number of the first frame that can be shown: None if there is none, -1 if it is the
    number of any key frame."""
    packets = []
    codec, pix_fmt, options = CODECS[case.codec]
    # Frames before 0 are hidden by an edit list.
    muxing = {"avoid_negative_ts": "disabled"} if case.container in EDITED else {}
    with av.open(str(path), "w", container_options=muxing) as container:
        stream = container.add_stream(codec, rate=RATE, options={"g": str(case.gop), **options})
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        stream.codec_context.time_base = Fraction(1, RATE)
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(stamp(number), format="rgb24")
            frame.pts = number
            packets += stream.encode(frame)
        packets += stream.encode(None)

        if case.start == "between":
            packets = packets[5:]
        # By now, because muxing gives packets the stamps of the container.
        keys = [packet.pts for packet in packets if packet.is_keyframe]
        for packet in packets:
            packet.pts += shift(case)
            packet.dts += shift(case)
            container.mux(packet)

    data = path.read_bytes()
    if case.start == "in a packet" and case.container in RECORDED:
        path.write_bytes(data[len(data) // 4 + 77 :])
        return -1 if case.gop < FRAMES else None
    if case.start == "cut off":
        path.write_bytes(data[: len(data) * 3 // 4])
    if case.start == "in a packet" and case.container in EDITED:
        return HIDDEN
    return keys[0] if keys else None


def shift(case: Case) -> int:
    """By how many frames the file's clock is late."""
    if case.start == "in a packet":
        return -HIDDEN if case.container in EDITED else 0
    return 5 * RATE if case.start == "late" else 0


def examine(case: Case, path: Path, some: int = FRAMES) -> str:
    """Write the case and read it: "right" or "refused", else AssertionError. Asks for `some` frames alone."""
    if not case.possible:
        return "impossible"
    first = write(case, path)
    try:
        with open_video(path) as video:
            count = round(video.end * RATE)
            times = (np.arange(count) + 0.25) / RATE
            full = video.frames(times)
    except DecodeError as error:
        # A file with an index or a promised length is refused where it is cut off.
        assert first is None or case.start == "cut off", error
        assert str(error).count("\n") == 0
        return "refused"

    assert first is not None, "nothing can be shown"
    check_numbers(case, read_stamps(full), first)
    for number in np.linspace(0, count - 1, min(some, count)).astype(int):
        alone = decode_frames(path, [times[number]])[0]
        assert np.array_equal(alone, full[number]), f"frame {number} alone is another one"
        assert np.array_equal(decode_frames(path, [number / RATE])[0], alone), f"frame {number} begins late"
    return "right"


def check_numbers(case: Case, numbers: list[int], first: int) -> None:
    """Raise AssertionError unless the frames are in order, each at its time, from `first` to the last."""
    if case.container == "avi" and case.start in ("between", "late"):
        # AVI counts frames from 0, so its muxer may fill up with empty ones behind the first.
        numbers = numbers[numbers.count(first) - 1 :]
    if case.start == "cut off":
        # The last frames may lack what they refer to.
        numbers = numbers[:-5]
        assert len(numbers) > 10
    else:
        assert numbers[-1] == FRAMES - 1, numbers
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    assert first in (-1, numbers[0]), numbers
    assert numbers[0] % case.gop == 0 or case.container not in RECORDED


def examine_impossible(case: Case, path: Path) -> str:
    """Raise AssertionError if FFmpeg can write and read the pair after all."""
    try:
        write(case._replace(start="key frame"), path)
        open_video(path).close()
    except (av.FFmpegError, ValueError, DecodeError):
        return "impossible"
    raise AssertionError("this pair is possible after all")


def pairwise(factors: list[Iterable], possible) -> list[tuple]:
    """Few rows with one level of each factor, in which every pair of levels occurs that can occur."""
    left = {pair for row in itertools.product(*factors) if possible(row) for pair in pairs(row)}
    rows = []
    candidates = [row for row in itertools.product(*factors) if possible(row)]
    while left:
        best = max(candidates, key=lambda row: len(left & pairs(row)))
        rows.append(best)
        left -= pairs(best)
    return rows


def pairs(row: tuple) -> set[tuple]:
    """Two factors and their levels in this row."""
    return set(itertools.combinations(enumerate(row), 2))


FACTORS = [HOLDS, CODECS, GOPS, STARTS]
CASES = [Case(*row) for row in pairwise(FACTORS, lambda row: Case(*row).possible)]
IMPOSSIBLE = [Case(container, codec, 12, "key frame") for container in HOLDS for codec in CODECS]
IMPOSSIBLE = [case for case in IMPOSSIBLE if not case.possible and case[:2] != ("mov", "gif")]


@pytest.mark.parametrize("case", CASES, ids=[case.named for case in CASES])
def test_a_frame_alone_is_the_frame_of_a_full_decode(case, tmp_path):
    examine(case, tmp_path / f"case.{case.container}", some=6)


@pytest.mark.parametrize("case", IMPOSSIBLE, ids=[f"{case.codec} in {case.container}" for case in IMPOSSIBLE])
def test_a_container_that_cannot_hold_a_codec(case, tmp_path):
    examine_impossible(case, tmp_path / f"case.{case.container}")


def test_every_pair_of_factors_is_among_the_cases():
    rows = [Case(*row) for row in itertools.product(*FACTORS)]
    assert {pair for case in rows if case.possible for pair in pairs(case)} == {
        pair for case in CASES for pair in pairs(case)
    }
    assert len(CASES) < 100 < len(rows)


def main() -> None:
    """The whole matrix: prints every case that is wrong, and how many came out how."""
    outcomes = Counter()
    av.logging.set_level(av.logging.PANIC)
    with TemporaryDirectory() as folder:
        for case in itertools.starmap(Case, itertools.product(*FACTORS)):
            try:
                outcome = examine(case, Path(folder) / f"case.{case.container}")
            except (AssertionError, DecodeError) as error:
                outcome = "wrong"
                print(f"{case.named}: {error}")
            outcomes[outcome] += 1
    print(dict(outcomes))


if __name__ == "__main__":
    main()

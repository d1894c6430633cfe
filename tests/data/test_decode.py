"""The right frame at the right time, from every kind of file; one clear error from every broken one."""

import gc
import math
import os
import pickle
import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.videos import (
    Pipe,
    even_times,
    read_stamp,
    read_stamps,
    stamp,
    uneven_times,
    write_picture,
    write_sound,
    write_video,
)
from vjepa.data.decode import decode_frames, open_video
from vjepa.data.decode_error import DecodeError

VARYING = uneven_times(100)
STEADY = even_times(100)
QUIET265 = "log-level=none"

KINDS = {
    "g1.mp4": dict(times=VARYING, options={"g": "1"}),
    "g30.mp4": dict(times=VARYING, options={"g": "30", "bf": "3"}),
    "g250.mp4": dict(times=VARYING, options={"g": "250", "bf": "3"}),
    "steady.mov": dict(times=STEADY, options={"g": "12", "bf": "2"}),
    "ntsc.mp4": dict(times=even_times(100, Fraction(30000, 1001)), options={"g": "12"}),
    "varying.mkv": dict(times=VARYING, options={"g": "20", "bf": "3"}),
    "open_gop.mkv": dict(times=VARYING, options={"x264-params": "open-gop=1:keyint=20:bframes=3"}),
    "open_gop.mp4": dict(times=VARYING, options={"x264-params": "open-gop=1:keyint=20:bframes=3"}),
    "no_key_frames.mkv": dict(times=VARYING, options={"x264-params": "intra-refresh=1:keyint=20"}),
    "varying.ts": dict(times=VARYING, options={"g": "20"}),
    "steady.flv": dict(times=STEADY, options={"g": "20"}),
    "hevc.mp4": dict(times=VARYING, codec="libx265", options={"x265-params": f"{QUIET265}:keyint=20"}),
    "hevc.mkv": dict(times=VARYING, codec="libx265", options={"x265-params": QUIET265}),
    "av1.mp4": dict(times=VARYING, codec="libsvtav1", options={"g": "20"}),
    "vp9.webm": dict(times=VARYING, codec="libvpx-vp9", options={"g": "20"}),
    "ten_bit.mp4": dict(times=VARYING, pix_fmt="yuv420p10le", options={"g": "30"}),
    "odd_size.mkv": dict(times=VARYING, codec="ffv1", size=(97, 65)),
    "odd_size.mp4": dict(times=VARYING, pix_fmt="yuv444p", size=(97, 65)),
    "fragments.mp4": dict(
        times=STEADY, options={"g": "10"}, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "starts_at_5.mp4": dict(times=[5 + time for time in VARYING], options={"g": "30"}),
    "starts_at_5.mkv": dict(times=[5 + time for time in VARYING], options={"g": "30"}),
    "starts_at_5.ts": dict(times=[5 + time for time in STEADY], options={"g": "30"}),
    "longer_sound.mp4": dict(times=STEADY, sound=True),
    "longer_sound.mkv": dict(times=STEADY, sound=True),
    "animation.gif": dict(times=even_times(20, 10), codec="gif", pix_fmt="rgb8"),
    "one_frame.mp4": dict(times=[Fraction(0)]),
}


def clock(times) -> np.ndarray:
    """When each frame appears, in seconds since the first."""
    return np.array([float(time - times[0]) for time in times])


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory) -> tuple[Path, np.ndarray]:
    path = tmp_path_factory.mktemp("kinds") / request.param
    write_video(path, **KINDS[request.param])
    return path, clock(KINDS[request.param]["times"])


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """100 frames at 30 a second, a key frame every 25, index in front."""
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    write_video(
        path, STEADY, size=(192, 128), options={"g": "25"}, container_options={"movflags": "faststart"}
    )
    return path


def test_every_frame_at_the_moment_it_appears(kind):
    path, times = kind
    clip = decode_frames(path, times)
    assert clip.dtype == np.uint8 and clip.flags.c_contiguous
    assert read_stamps(clip) == list(range(len(times)))


def test_a_frame_stays_until_the_next_one(kind):
    path, times = kind
    between = times[:-1] + np.diff(times) * np.random.default_rng(0).uniform(0.1, 0.9, len(times) - 1)
    if len(between):
        assert read_stamps(decode_frames(path, between)) == list(range(len(between)))


def test_random_access_equals_decoding_from_the_start(kind):
    path, times = kind
    rng = np.random.default_rng(1)
    with open_video(path) as video:
        everything = video.frames(times)
        for size in (1, 1, 2, 5, 9):
            numbers = rng.integers(0, len(times), size)  # in any order, repeats too
            np.testing.assert_array_equal(video.frames(times[numbers] + 0.001), everything[numbers])


def test_it_ends_when_the_last_frame_does(kind):
    path, times = kind
    with open_video(path) as video:
        assert video.start == 0 and video.duration == video.end
        assert times[-1] < video.end <= times[-1] + 0.102
        assert read_stamp(video.frames([np.nextafter(video.end, 0)])[0]) == len(times) - 1
        for outside in (-0.01, video.end + 0.01, 1e9, math.nan):
            with pytest.raises(DecodeError, match="outside the video"):
                video.frames([outside])


def test_the_properties_of_a_video(video):
    with open_video(video) as opened:
        assert (opened.width, opened.height, opened.rotation, opened.codec) == (192, 128, 0, "h264")
        assert opened.fps == pytest.approx(30) and opened.duration == pytest.approx(100 / 30)


def test_only_what_is_needed_is_decoded(video, monkeypatch):
    """Two frames 50 apart, 25 between key frames: a handful of packets, not 75."""
    decoded = []
    with open_video(video) as opened:
        decode = opened.stream.decode
        counted = lambda packets: decode(p for p in packets if not decoded.append(p))  # noqa: E731
        monkeypatch.setattr(opened.stream, "decode", counted)
        assert read_stamps(opened.frames([26 / 30, 76 / 30])) == [26, 76]
    assert len(decoded) <= 24  # each time two frames, and what their order of decoding needs


def test_a_file_without_a_duration(tmp_path):
    path = tmp_path / "pipe.mkv"
    write_video(Pipe(path), VARYING, format="matroska", options={"g": "20"})
    with open_video(path) as video:
        assert video.stream.container.duration is None
        assert video.end == pytest.approx(float(VARYING[-1]) + 0.059, abs=0.1)
        assert read_stamps(video.frames(clock(VARYING))) == list(range(100))


@pytest.mark.parametrize(
    "suffix, mirrored", [(".mp4", False), (".mp4", True), (".mkv", False)]
)  # Matroska only turns
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_come_upright(tmp_path, suffix, degrees, mirrored):
    """The stored stamp is turned the other way round, so that the player's turn makes it upright."""
    turns = degrees // 90
    upright = stamp(77, *((64, 96) if turns % 2 else (96, 64)))
    stored = np.rot90(upright[:, ::-1] if mirrored else upright, -turns)
    path = tmp_path / f"turned{suffix}"
    write_video(path, even_times(3), turn=(degrees, mirrored, False), pictures=[stored] * 3)
    with open_video(path) as video:
        clip = video.frames([0.0, 0.05])
        assert clip.shape[1:3] == (video.height, video.width) == upright.shape[:2]
        assert video.rotation == (-degrees) % 360 or mirrored
    assert read_stamps(clip) == [77, 77] and clip.flags.c_contiguous


def test_avi_has_only_decoding_times(tmp_path):
    path = tmp_path / "old.avi"
    write_video(path, even_times(60), codec="mpeg4", ticks=30, b_frames=2)
    assert read_stamps(decode_frames(path, np.arange(60) / 30)) == list(range(60))
    assert read_stamps(decode_frames(path, [1.71, 0.31, 0.52])) == [51, 9, 15]


@pytest.mark.parametrize(
    "name, codec, pix_fmt",
    [
        ("a.png", "png", "rgb24"),
        ("a.png", "png", "rgba"),
        ("a.jpg", "mjpeg", "yuvj420p"),
        ("a.webp", "libwebp", "yuv420p"),
        ("a.bmp", "bmp", "bgr24"),
        ("a.tiff", "tiff", "rgb24"),
        ("50%d is a: {number}*?.png", "png", "rgb24"),
    ],
)
def test_an_image_is_a_video_that_stands_still(tmp_path, name, codec, pix_fmt):
    path = tmp_path / name
    write_picture(tmp_path / f"tmp{path.suffix}", 77, codec, pix_fmt)
    (tmp_path / f"tmp{path.suffix}").rename(path)
    with open_video(path) as video:
        assert read_stamps(video.frames([0, 0.25, 1e6])) == [77, 77, 77]
        assert (video.width, video.height, video.end, video.fps) == (96, 64, math.inf, 0)
        with pytest.raises(DecodeError, match="outside"):
            video.frames([-1])


def test_names_that_look_like_addresses(video, tmp_path):
    for name in ("http:a.mp4", "concat:a|b.mp4", "50%d.mp4", "ünïcode – 視頻.mp4", "-i.mp4"):
        path = tmp_path / name
        path.write_bytes(video.read_bytes())
        assert read_stamp(decode_frames(path, [1])[0]) == 30


def test_a_cover_picture_is_no_video(tmp_path):
    write_picture(tmp_path / "cover.jpg", 5, "mjpeg", "yuvj420p")
    write_sound(tmp_path / "song.m4a", cover=tmp_path / "cover.jpg")
    with pytest.raises(DecodeError, match="no video stream, only a cover picture and audio"):
        open_video(tmp_path / "song.m4a")


@pytest.mark.parametrize("rate", [240, 500, 1000, 5000])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".ts"])
def test_fast_cameras(tmp_path, rate, suffix):
    path = tmp_path / f"fast{suffix}"
    write_video(path, even_times(50, rate), options={"g": "12", "bf": "2"})
    with open_video(path) as video:
        for shift in (0, 0.5):
            assert read_stamps(video.frames((np.arange(50) + shift) / rate)) == list(range(50))
        assert video.duration == pytest.approx(50 / rate, abs=1e-4)


@pytest.mark.parametrize("start", [0, Fraction(1, 3), Fraction(500_001, 100_000)])
@pytest.mark.parametrize("rate", [24, Fraction(30_000, 1001), 30, 60, 120, 240])
def test_whole_milliseconds(tmp_path, rate, start):
    """Matroska and FLV round the stamps: frame k is still the one at k / rate."""
    for suffix in (".mkv", ".flv"):
        path = tmp_path / f"rounded{suffix}"
        write_video(path, [start + time for time in even_times(60, rate)], options={"g": "20"}, ticks=1000)
        assert read_stamps(decode_frames(path, np.arange(60) / float(rate))) == list(range(60)), suffix
        assert read_stamps(decode_frames(path, (np.arange(60) + 0.6) / float(rate))) == list(range(60)), (
            suffix
        )


@pytest.mark.parametrize("suffix, rate", [(".ts", Fraction(1, 15)), (".mkv", Fraction(1, 60)), (".mpg", 25)])
def test_slow_and_common_rates_are_no_jumps(tmp_path, suffix, rate):
    path = tmp_path / f"slow{suffix}"
    codec = dict(codec="mpeg2video", ticks=25) if suffix == ".mpg" else {}
    write_video(path, even_times(20, rate), **codec)
    assert read_stamps(decode_frames(path, (np.arange(20) + 0.25) / float(rate))) == list(range(20))


def test_avi_in_which_frames_are_reordered_late(tmp_path):
    """An encoder uses B-frames where the picture is calm: here after the first frames, which are noise."""
    noise = np.random.default_rng(0).integers(-75, 75, (30, 64, 96, 3))
    pictures = [stamp(number) for number in range(60)]
    pictures[:30] = [np.clip(stamp(k) + noise[k], 0, 255).astype(np.uint8) for k in range(30)]
    options = {"bf": "3", "g": "250", "x264-params": "b-adapt=1:b-bias=-90"}
    write_video(tmp_path / "a.avi", even_times(60, 25), pictures=pictures, ticks=25, options=options)
    times = (np.arange(60) + 0.5) / 25
    assert read_stamps(decode_frames(tmp_path / "a.avi", times)) == list(range(60))
    assert read_stamps(decode_frames(tmp_path / "a.avi", [times[34]])) == [34]


JOINED = {
    "equal.ts": dict(parts=(40, 40)),
    "longer.ts": dict(parts=(30, 50, 20), options={"g": "12", "bf": "2"}),
    "shorter.ts": dict(parts=(50, 30)),
    "film.vob": dict(parts=(40, 30), codec="mpeg2video", ticks=25, b_frames=2),
    "live.mkv": dict(parts=(40, 30), options={"g": "12"}),
    "live.webm": dict(parts=(20, 40), codec="libvpx-vp9"),
    "film.avi": dict(parts=(40, 30), codec="mpeg4", ticks=25, b_frames=2),
    "film.gif": dict(parts=(10, 10), codec="gif", pix_fmt="rgb8"),
}


def write_joined(path: Path, parts: tuple[int, ...], **how) -> None:
    """Files of so many frames, 25 a second, one after the other in one file, as `cat` does it."""
    numbers = iter(range(sum(parts)))
    contents = []
    for count in parts:
        write_video(path, even_times(count, 25), pictures=[stamp(next(numbers)) for _ in range(count)], **how)
        contents.append(path.read_bytes())
    path.write_bytes(b"".join(contents))


@pytest.mark.parametrize("name", JOINED)
def test_files_joined_with_cat(tmp_path, name):
    write_joined(tmp_path / name, **JOINED[name])
    count = sum(JOINED[name]["parts"])
    times = (np.arange(count) + 0.5) / 25
    with open_video(tmp_path / name) as video:
        assert video.end == pytest.approx(count / 25)
        assert read_stamps(video.frames(times)) == list(range(count))
    for number in (0, count // 3, count // 2, count - 1):
        assert read_stamps(decode_frames(tmp_path / name, [times[number]])) == [number]


CONCATENATED = {
    "a.mp4": dict(),
    "a.mov": dict(container_options={"movflags": "faststart"}),
    "b.mp4": dict(container_options={"movflags": "empty_moov"}),
    "c.flv": dict(),
    "d.wmv": dict(codec="wmv2", ticks=25),
    "e.ogv": dict(codec="libvpx", ticks=25, format="ogg"),
    "f.ivf": dict(codec="libvpx"),
    "g.apng": dict(codec="apng", pix_fmt="rgb24", ticks=25),
}


@pytest.mark.parametrize("name", CONCATENATED)
def test_files_joined_with_cat_of_which_ffmpeg_shows_the_first(tmp_path, name):
    for parts in [(20,), (20, 20)]:
        write_joined(tmp_path / name, parts, **CONCATENATED[name])
        if len(parts) == 1:
            assert read_stamps(decode_frames(tmp_path / name, [0.5])) == [12]
            continue
        with pytest.raises(DecodeError, match=r"2 files joined byte by byte.*concat"):
            open_video(tmp_path / name)


def test_joined_files_of_two_codecs(tmp_path):
    for name, codec in [("a.ts", "libx264"), ("b.ts", "mpeg2video")]:
        write_video(tmp_path / name, even_times(60, 25), codec=codec, ticks=25)
    (tmp_path / "ab.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(DecodeError, match=r"If files were joined: they must have one codec"):
        decode_frames(tmp_path / "ab.ts", [0, 1.5])


SENT_ONCE = {
    "gray.mov": dict(codec="rawvideo", pix_fmt="gray"),
    "gray_qtrle.mov": dict(codec="qtrle", pix_fmt="gray", options={"g": "5"}),
    "rpza.mov": dict(codec="rpza", pix_fmt="rgb555le"),
    "palette.mov": dict(codec="rawvideo"),
    "palette.avi": dict(codec="rawvideo"),
    "palette_msrle.avi": dict(codec="msrle"),
}


def write_palette(path: Path, count: int, codec: str) -> None:
    """Stamps in two colours of a palette, 25 a second."""
    palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 4, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "pal8"
        for number in range(count):
            frame = av.VideoFrame.from_ndarray((stamp(number)[..., 0].copy(), palette), format="pal8")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("name", SENT_ONCE)
def test_what_a_seek_would_lose(tmp_path, name):
    """A palette is sent with the first frame only, and every frame of RPZA is marked as a key frame."""
    if name.startswith("palette"):
        write_palette(tmp_path / name, 40, **SENT_ONCE[name])
    else:
        write_video(tmp_path / name, even_times(40, 25), **SENT_ONCE[name])
    times = (np.arange(40) + 0.5) / 25
    with open_video(tmp_path / name) as video:
        full = video.frames(times)
        assert read_stamps(full) == list(range(40)) and video.end == pytest.approx(40 / 25)
        np.testing.assert_array_equal(video.frames(times[[31, 3]]), full[[31, 3]])
    np.testing.assert_array_equal(decode_frames(tmp_path / name, times[[27]]), full[[27]])


def remux(source: Path, target: Path, change) -> None:
    """Copy the packets. `change` gets each with its number in the file."""
    with av.open(str(source)) as container, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            change(packet, number)
            packet.stream = stream
            copy.mux(packet)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts", ".flv"])
@pytest.mark.parametrize(
    "how",
    [
        dict(options={"x264-params": "bframes=3:b-pyramid=normal:b-adapt=0"}),
        dict(options={"x264-params": "bframes=1:b-adapt=0"}),
        dict(codec="libx265", options={"x265-params": f"{QUIET265}:bframes=3"}),
    ],
    ids=["pyramid", "one B", "hevc"],
)
def test_stamps_in_the_order_of_decoding(tmp_path, suffix, how):
    """As where `ffmpeg -r 25 -i raw.h264 -c copy` counted them: packets rise, and the frames do not."""

    def count(packet: av.Packet, number: int) -> None:
        packet.pts = packet.dts = number * round(1 / (25 * packet.time_base))

    write_video(tmp_path / "right.mkv", even_times(60, 25), **how)
    path = tmp_path / f"counted{suffix}"
    remux(tmp_path / "right.mkv", path, count)
    times = (np.arange(60) + 0.5) / 25
    with open_video(path) as video:
        assert video.end == pytest.approx(60 / 25) and read_stamps(video.frames(times)) == list(range(60))
    assert read_stamps(decode_frames(path, [times[33]])) == [33]


def test_frames_that_are_never_reordered_keep_their_stamps(tmp_path):
    """A decoder may expect B-frames that do not come. Seeks are trusted all the same."""
    pictures = [stamp(number // 30) for number in range(90)]  # nothing moves, so no B-frame is worth it
    options = {"x264-params": "bframes=3:b-adapt=2:keyint=30"}
    write_video(tmp_path / "a.mp4", uneven_times(90), pictures=pictures, options=options)
    with open_video(tmp_path / "a.mp4") as video:
        assert video.stream.facts.ticks is None


@pytest.mark.parametrize(
    "name, how",
    [
        ("a.gif", dict(codec="gif", pix_fmt="rgb8", container_options={"final_delay": "200"})),
        ("a.apng", dict(codec="apng", pix_fmt="rgb24", container_options={"final_delay": "2"})),
        ("a.mkv", {}),
        ("b.mkv", dict(codec="mpeg4", ticks=1000)),
        ("a.mp4", {}),
    ],
)
@pytest.mark.parametrize("count, rate", [(8, 10), (3, 1)])
def test_a_last_frame_that_is_held(tmp_path, name, how, count, rate):
    """It stays for two seconds, as in animations and slides. FLV has no place to say so."""

    def hold(packet: av.Packet, number: int) -> None:
        packet.duration = round((2 if number == count - 1 else Fraction(1, rate)) / packet.time_base)

    path = tmp_path / name
    write_video(path, even_times(count, rate), **how, b_frames=0)
    if "container_options" not in how:
        path.rename(tmp_path / f"even{path.suffix}")
        remux(tmp_path / f"even{path.suffix}", path, hold)
    last = (count - 1) / rate
    with open_video(path) as video:
        assert video.end == pytest.approx(last + 2, abs=0.01)
        assert read_stamps(video.frames([0, last, last + 1, last + 1.98])) == [0, *[count - 1] * 3]


def test_an_flv_that_is_cut_off(tmp_path):
    write_video(tmp_path / "a.flv", even_times(60))
    data = (tmp_path / "a.flv").read_bytes()
    (tmp_path / "a.flv").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DecodeError, match=r"cut off, or its last frame is held: 2\.067 s promised"):
        open_video(tmp_path / "a.flv")


def test_an_avi_from_a_pipe(tmp_path):
    """Its header promises 2^30 frames. One that lost its end promises those that it had."""
    write_video(Pipe(tmp_path / "a.avi"), even_times(60), codec="mjpeg", pix_fmt="yuvj420p", format="avi")
    with open_video(tmp_path / "a.avi") as video:
        assert video.end == pytest.approx(2) and read_stamps(video.frames([0, 1, 1.99])) == [0, 30, 59]


@pytest.mark.parametrize("start, gap", [(2**33 - 40_000, 0), (2**33 - 9_000_000, 8_960_000), (0, 2**32)])
def test_a_clock_of_33_bits_wraps_and_jumps(tmp_path, start, gap):
    """The clock of transport streams starts anew after 26.5 hours; a second recording may begin later."""
    path = tmp_path / "wraps.ts"
    ticks = [start + 3600 * number + (gap if number > 20 else 0) for number in range(60)]
    write_video(path, [Fraction(tick, 90_000) for tick in ticks], options={"g": "12"})
    with open_video(path) as video:
        assert video.end == pytest.approx(60 / 25)
        assert read_stamps(video.frames((np.arange(60) + 0.5) / 25)) == list(range(60))
    assert read_stamps(decode_frames(path, [1.5])) == [37]


@pytest.mark.parametrize(
    "name, codec", [("a.h264", "libx264"), ("a.h265", "libx265"), ("a.m2v", "mpeg2video")]
)
def test_a_raw_stream_has_no_stamps(tmp_path, name, codec):
    options = {"x265-params": QUIET265} if codec == "libx265" else {}
    write_video(tmp_path / name, even_times(40, 25), codec=codec, ticks=25, options={"g": "12", **options})
    assert read_stamps(decode_frames(tmp_path / name, (np.arange(40) + 0.5) / 25)) == list(range(40))
    assert read_stamps(decode_frames(tmp_path / name, [0.82])) == [20]


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.ts"])
def test_a_size_that_changes_is_scaled_to_the_first(tmp_path, name):
    """As WebRTC does it: the stream goes on in another size."""
    codec = "libvpx" if name == "a.webm" else "libx264"
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()
        for part, size in enumerate([(96, 64), (192, 128), (48, 32)]):
            for packet in encoded(codec, size, range(20 * part, 20 * part + 20)):
                packet.stream = stream
                container.mux(packet)
    for number in (0, 25, 45, 59, 30):
        clip = decode_frames(tmp_path / name, [(number + 0.5) / 25, 0])
        assert clip.shape == (2, 64, 96, 3) and read_stamps(clip) == [number, 0]


def encoded(codec: str, size: tuple[int, int], numbers: range) -> list[av.Packet]:
    """Packets of stamps of one size, 25 a second. Their header comes in the stream, not before it."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = *size, "yuv420p"
    context.time_base = Fraction(1, 25)
    context.max_b_frames = 0
    packets = []
    for number in numbers:
        frame = av.VideoFrame.from_ndarray(stamp(number, *size), format="rgb24")
        frame.pts = number
        packets += context.encode(frame)
    packets += context.encode(None)
    for packet in packets:
        packet.time_base = Fraction(1, 25)
    return packets


def test_a_file_that_changed_is_looked_through_again(tmp_path):
    path = tmp_path / "a.ts"
    for count in (30, 50):
        write_video(path, even_times(count, 25))
        with open_video(path) as video:
            assert video.end == pytest.approx(count / 25)


BROKEN = {
    "missing.mp4": (None, "No such file"),
    "empty.mp4": (b"", "empty"),
    "zeros.mp4": (bytes(5000), "corrupt, cut off or no video"),
    "page.mp4": (b"<html><body>404 Not Found</body></html>" * 50, "a web page"),
    "denied.webm": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "a web page"),
    "pointer.mp4": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "pointer.gif": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "moving.webp": (
        b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\2\0\0\0\x5f\0\0\x3f\0\0ANIM\6" + bytes(9),
        "animated WebP.*convert it to GIF",
    ),
    "notes.txt": (b"hello world\n" * 50, "a text file"),
    "list.mp4": (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "a text, no video"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_video(tmp_path, name):
    content, reason = BROKEN[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=reason) as caught:
        decode_frames(tmp_path / name, [0.0])
    assert caught.value.path == tmp_path / name
    assert str(caught.value) == f"cannot decode {tmp_path / name}: {caught.value.reason}"


def test_a_folder_and_a_sound(tmp_path):
    write_sound(tmp_path / "sound.m4a")
    with pytest.raises(DecodeError, match="no video stream, only audio"):
        open_video(tmp_path / "sound.m4a")
    with pytest.raises(DecodeError, match="directory"):
        open_video(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(video, tmp_path):
    path = tmp_path / "secret.mp4"
    path.write_bytes(video.read_bytes())
    path.chmod(0)
    with pytest.raises(DecodeError, match="Permission"):
        open_video(path)


@pytest.mark.parametrize("percent", [2, 10, 20, 40, 60, 80, 90, 95, 98])
def test_a_download_that_broke_off(video, tmp_path, percent):
    """The header promises 100 frames that are not there."""
    path = tmp_path / "cut.mp4"
    path.write_bytes(video.read_bytes()[: video.stat().st_size * percent // 100])
    with pytest.raises(DecodeError):
        decode_frames(path, np.arange(100) / 30)


def test_a_broken_off_matroska(tmp_path):
    path = tmp_path / "cut.mkv"
    write_video(path, STEADY, options={"g": "25"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DecodeError, match=r"cut off: 3\.333 s promised"):
        decode_frames(path, [0.0])


def test_noise_in_a_file_gives_frames_or_a_decode_error(video, tmp_path):
    """Nothing else, wherever the noise hits: no other exception, no crash, no wrong shape."""
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(60):
        content = bytearray(video.read_bytes())
        for spot in rng.integers(0, len(content) - 8, 3):
            content[spot : spot + 8] = rng.bytes(8)
        (tmp_path / "noise.mp4").write_bytes(content)
        try:
            assert decode_frames(tmp_path / "noise.mp4", [0.0, 1.0, 2.0]).shape == (3, 128, 192, 3)
        except DecodeError:
            failures += 1
    assert failures > 10


def test_the_error_survives_a_worker_process():
    error = pickle.loads(pickle.dumps(DecodeError("a b.mp4", "it is empty")))
    assert isinstance(error, DecodeError) and str(error) == "cannot decode a b.mp4: it is empty"
    assert error.path == Path("a b.mp4")


def test_frames_needs_a_time(video):
    with open_video(video) as opened, pytest.raises(ValueError, match="at least one"):
        opened.frames([])


def grown(visit, times: int) -> tuple[int, int]:
    """Open files and KiB of memory that so many visits add."""

    def state() -> tuple[int, int]:
        return len(os.listdir("/dev/fd")), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for _ in range(100):
        visit()
    files_before, memory_before = state()
    for _ in range(times):
        visit()
    files, memory = state()
    return files - files_before, memory - memory_before


def test_a_thousand_openings_leak_nothing(video, tmp_path):
    """Neither files nor memory, though nothing collects garbage."""
    gc.disable()
    try:
        files, memory = grown(lambda: decode_frames(video, [0.5, 3.0]) is None, 900)  # after 100 to warm up
    finally:
        gc.enable()
    assert files == 0 and memory < 10_000


def test_broken_files_leak_nothing(video, tmp_path):
    """With the garbage collector: on Python 3.13, not on 3.11, a DecodeError leaves a reference cycle."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:4000])

    def visit() -> None:
        with pytest.raises(DecodeError):
            decode_frames(broken, [0.5, 3.0])

    files, memory = grown(visit, 450)
    assert files == 0 and memory < 10_000

"""Windows of whole videos: the same in every order, and every frame decoded and cropped once."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from einops import rearrange
from torch.utils.data import DataLoader

from tests.videos import even_times, write_video
from vjepa.data import decode
from vjepa.data.clips import ClipConfig, EvaluationClips, TrainingClips, choose_crop
from vjepa.data.decode import decode_frames, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.forward_reader import ForwardReader
from vjepa.data.manifest import read_manifest
from vjepa.data.sampling import clip_times, segment_times
from vjepa.data.stream_reader import StreamReader
from vjepa.data.transforms import centre_box, centre_square, crop, crop_frames
from vjepa.data.views import ViewClips, Views, boxes_along
from vjepa.data.windows import Window, WindowClips, times_in, windows_of

CONFIG = ClipConfig(frames=8, fps=8.0, size=32, short="hold")
FRAMES = 240
"""Of a test video, at 24 frames a second: ten seconds, in which one-second windows lie."""

FILES = {
    "one_group.mp4": {"g": "1000", "x264-params": "scenecut=0"},
    "groups.mp4": {"g": "12"},
    "groups.mkv": {"g": "12"},
    "groups.ts": {"g": "12"},
    "one_group.ts": {"g": "1000", "x264-params": "scenecut=0"},
    "pieces.mp4": {"g": "24"},
    "frames.gif": {},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("windows")
    for name, options in FILES.items():
        codec = {"codec": "gif", "pix_fmt": "rgb8"} if name.endswith("gif") else {}
        pieces = {"container_options": {"movflags": "frag_keyframe+empty_moov"}} if "pieces" in name else {}
        write_video(folder / name, even_times(FRAMES, 24), options=options, **codec, **pieces)
    return folder


@pytest.fixture
def decoded(monkeypatch) -> list[int]:
    """A list that grows by one entry for each frame that is decoded."""
    frames = []
    original = StreamReader.decode

    def counted(reader, packets) -> Iterator:
        for frame in original(reader, packets):
            frames.append(frame.pts)
            yield frame

    monkeypatch.setattr(StreamReader, "decode", counted)
    return frames


def alone(path: Path, window: Window, config: ClipConfig = CONFIG) -> torch.Tensor:
    """The clip of one window, read for itself: whole frames first, then the crop of all of them."""
    row = read_manifest(path).row(0)
    with open_video(path) as video:
        frames = torch.from_numpy(video.frames(times_in(video, row, window, config)))
    clip = rearrange(frames, "t h w c -> t c h w")
    return crop(clip, centre_box(*clip.shape[-2:], 1.0), config.size, flip=False)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("overlap", [0.0, 0.8])
def test_windows_are_the_same_in_every_order(folder, name, overlap):
    manifest = read_manifest(folder / name)
    windows, _ = windows_of(manifest, CONFIG, overlap)
    expected = [alone(folder / name, window) for window in windows]
    shuffled = np.random.default_rng(0).permutation(len(windows)).tolist()
    for order in (range(len(windows)), shuffled[:12], range(len(windows) - 1, -1, -9)):
        clips = WindowClips(manifest, windows, CONFIG)
        assert all(torch.equal(clips[i].clip, expected[i]) for i in order)


@pytest.mark.parametrize("name", ["one_group.mp4", "groups.mp4", "one_group.ts", "groups.ts", "frames.gif"])
@pytest.mark.parametrize("overlap", [0.0, 0.6])
def test_a_video_is_decoded_once_for_all_of_its_windows(folder, decoded, name, overlap):
    manifest = read_manifest(folder / name)
    windows, _ = windows_of(manifest, CONFIG, overlap)
    decoded.clear()  # what the survey of the file decoded
    clips = WindowClips(manifest, windows, CONFIG)
    assert all(clips[i].clip is not None for i in range(len(windows)))
    # A key frame on the way is sought, and a decoder is a few frames ahead of what it shows.
    assert len(decoded) <= 1.2 * FRAMES


@pytest.mark.parametrize("name", ["groups.mp4", "groups.mkv", "pieces.mp4"])
def test_sparse_windows_are_reached_by_seeking(folder, decoded, name):
    manifest = read_manifest(folder / name)
    starts = [0.0, 4.5, 8.5]
    clips = WindowClips(manifest, [Window(0, start) for start in starts], CONFIG)
    decoded.clear()
    for i in range(len(starts)):
        assert clips[i].clip is not None
    # Of each a second, and at most a group of a second before it; a decoder is a few frames ahead.
    assert len(decoded) <= 3 * (24 + 24 + 12)


def test_each_frame_is_cropped_once_and_kept_as_long_as_a_window_needs_it(folder):
    cropped = []

    def change(frames: np.ndarray) -> np.ndarray:
        cropped.extend(frames)
        return centre_square(frames, 8)

    row = read_manifest(folder / "groups.mp4").row(0)
    windows, _ = windows_of(read_manifest(folder / "groups.mp4"), CONFIG, 0.75)
    with open_video(row.path) as video:
        times = [times_in(video, row, window, CONFIG) for window in windows]
        reader = ForwardReader(video, change)
        for number, own in enumerate(times):
            reader.clip(own, np.concatenate([own[:0], *times[number + 1 :]]))
            # Eight of the window before and of those that begin in it, which lie on the same frames.
            assert len({image.ctypes.data for image in reader._kept.values()}) <= 16
    assert reader._kept == {} and len(cropped) <= 80 + 8 + len(windows)


def test_processes_do_not_share_an_open_file(folder):
    """A worker that was forked from a process which has read must not move its place in the file."""
    manifest = read_manifest(folder / "groups.mp4")
    windows, _ = windows_of(manifest, CONFIG, 0.5)
    clips = WindowClips(manifest, windows, CONFIG)
    expected = [clips[i].clip for i in range(len(windows))]
    assert clips[0].clip is not None  # the file is open now
    read = DataLoader(clips, 3, num_workers=2, collate_fn=list, multiprocessing_context="fork")
    got = [sample.clip for samples in read for sample in samples]
    assert all(map(torch.equal, got, expected)) and len(got) == len(expected)
    assert torch.equal(pickle.loads(pickle.dumps(clips))[1].clip, expected[1])
    assert torch.equal(clips[2].clip, expected[2])


def test_a_broken_frame_spoils_only_the_windows_that_need_it(tmp_path, monkeypatch):
    """Motion JPEG: each frame stands for itself, so that windows on both sides of a broken one are whole."""
    write_video(tmp_path / "a.mkv", even_times(96, 24), codec="mjpeg", pix_fmt="yuvj420p")
    original = StreamReader.decode

    def broken(reader, packets) -> Iterator:
        for frame in original(reader, packets):
            if frame.pts == 1625:  # milliseconds
                raise DecodeError(reader.path, "broken")
            yield frame

    windows = [Window(0, start) for start in (1.0, 1.5, 1.625, 2.2)]
    # The second one shows the frames at 1.5 s and at 2 s, and the broken one, of the next, lies between them.
    clips = WindowClips(read_manifest(tmp_path / "a.mkv"), windows, replace(CONFIG, frames=2, fps=2.0))
    expected = [clips[i].clip for i in range(4)]
    monkeypatch.setattr(StreamReader, "decode", broken)
    found = [clips[i] for i in range(4)]
    assert [len(sample.bad) for sample in found] == [0, 0, 1, 0]
    assert all(torch.equal(found[i].clip, expected[i]) for i in (0, 1, 3))


@pytest.mark.parametrize("height, width", [(64, 96), (97, 61), (256, 256), (31, 400), (720, 1280)])
@pytest.mark.parametrize("size", [16, 64, 256])
def test_a_frame_cropped_alone_is_that_of_the_clip(height, width, size):
    rng = np.random.default_rng(height)
    frames = rng.integers(0, 256, (3, height, width, 3), np.uint8)
    clip = rearrange(torch.from_numpy(frames), "t h w c -> t c h w")
    for flip in (False, True):
        box, _ = choose_crop(height, width, ClipConfig(), rng)
        expected = crop(clip, box, size, flip)
        for number in range(3):
            (one,) = crop_frames(frames[number : number + 1], box, size, flip)
            assert np.array_equal(one, expected[number].permute(1, 2, 0))
        assert np.array_equal(crop_frames(frames, box, size, flip), expected.permute(0, 2, 3, 1))


def test_data_sets_crop_as_if_whole_clips_were_decoded_first(folder):
    manifest = read_manifest(folder / "groups.mp4")
    row = manifest.row(0)
    config = replace(CONFIG, size=48)

    def whole(times: np.ndarray) -> torch.Tensor:
        return rearrange(torch.from_numpy(decode_frames(row.path, times)), "t h w c -> t c h w")

    middle = whole(clip_times(0.0, 10.0, config.frames, config.fps))
    assert torch.equal(EvaluationClips(manifest, config)[0].clip, crop(middle, (0, 16, 64, 64), 48, False))

    views = ViewClips(manifest, config, Views(segments=2, crops=3))[0]
    segments = map(whole, segment_times(0.0, 10.0, config.frames, config.fps, 2))
    expected = [crop(clip, box, 48, False) for clip in segments for box in boxes_along(64, 96, 3)]
    assert all(map(torch.equal, [view.clip for view in views], expected))

    sample = TrainingClips([manifest], [1.0], config, seed=5)[7]
    rng = np.random.Generator(np.random.Philox(key=np.array([5, 7], np.uint64), counter=0))
    frames = whole(clip_times(0.0, 10.0, config.frames, config.fps, rng))
    box, flip = choose_crop(64, 96, config, rng)
    assert torch.equal(sample.clip, crop(frames, box, 48, flip))


def test_a_video_read_on_is_the_video_read_anew(folder):
    rng = np.random.default_rng(1)
    for name in FILES:
        with open_video(folder / name) as video:
            for _ in range(12):
                times = rng.uniform(0, 9.9, 3)
                assert np.array_equal(video.frames(times), decode_frames(folder / name, times)), name


@pytest.mark.parametrize("at_once", [1, 3 * 64 * 96 * 3])
def test_a_clip_is_the_same_however_many_frames_are_cropped_together(folder, monkeypatch, at_once):
    times = [3.0, 0.0, 0.01, 5.2, 3.01, 9.9, 0.5]
    with open_video(folder / "groups.mp4") as video:
        expected = video.frames(times, partial(centre_square, size=16))
        monkeypatch.setattr(decode, "AT_ONCE", at_once)
        sizes = []

        def change(frames: np.ndarray) -> np.ndarray:
            sizes.append(len(frames))
            return centre_square(frames, 16)

        assert np.array_equal(video.frames(times, change), expected)
    assert max(sizes) <= max(at_once // (64 * 96 * 3), 1) and sum(sizes) == 5  # frames that differ


def test_a_frame_shown_at_several_times_comes_as_one_array(folder):
    with open_video(folder / "groups.mp4") as video:
        first, same, other = video.images(np.array([0.0, 0.001, 0.5]), partial(centre_square, size=8))
    assert first is same and first is not other and first.shape == (8, 8, 3)

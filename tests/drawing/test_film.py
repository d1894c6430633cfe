from io import BytesIO

import av
import numpy as np
import pytest
from PIL import Image

from vjepa.drawing.film import gif_bytes, write_gif, write_mp4, write_png


@pytest.fixture
def frames() -> np.ndarray:
    """A bright square that moves over a dark ground, 12 frames of 48 x 64."""
    film = np.full((12, 48, 64, 3), 40, np.uint8)
    for time, frame in enumerate(film):
        frame[16:32, 4 * time : 4 * time + 16] = (220, 120, 30)
    return film


def decoded(path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_a_gif_plays_all_frames_for_ever_at_its_rate(frames):
    image = Image.open(BytesIO(gif_bytes(frames, fps=5.0)))
    assert image.n_frames == 12 and image.size == (64, 48)
    assert image.info["duration"] == 200 and image.info["loop"] == 0


def test_a_gif_keeps_few_colours_exactly_in_every_frame(frames):
    image = Image.open(BytesIO(gif_bytes(frames, fps=5.0)))
    for time in range(12):
        image.seek(time)
        difference = np.asarray(image.convert("RGB")).astype(int) - frames[time]
        assert np.abs(difference).max() <= 4


def test_a_gif_with_fewer_colours_is_smaller():
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert len(gif_bytes(noise, 5.0, colours=16)) < len(gif_bytes(noise, 5.0, colours=256))


def test_films_are_the_same_bytes_every_time(tmp_path, frames):
    for name in ("a", "b"):
        write_mp4(tmp_path / f"{name}.mp4", frames, 5)
        write_gif(tmp_path / f"{name}.gif", frames, 5)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "a.mp4", "b.gif", "b.mp4"]


def test_an_mp4_holds_the_frames_in_a_format_that_browsers_play(tmp_path, frames):
    write_mp4(tmp_path / "film.mp4", frames, 5)
    with av.open(str(tmp_path / "film.mp4")) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == 5.0
    film = decoded(tmp_path / "film.mp4")
    assert film.shape == frames.shape
    assert np.abs(film.astype(int) - frames).mean() < 5


def test_an_mp4_of_odd_sides_gets_one_more_row_and_column(tmp_path, frames):
    write_mp4(tmp_path / "film.mp4", frames[:, :47, :63], 7.5)
    assert decoded(tmp_path / "film.mp4").shape == (12, 48, 64, 3)


def test_a_png_holds_the_image(tmp_path, frames):
    write_png(tmp_path / "image.png", frames[0])
    assert (np.asarray(Image.open(tmp_path / "image.png")) == frames[0]).all()


def test_dots_bring_a_smooth_shade_nearer_to_itself():
    shade = np.linspace(0, 255, 64).astype(np.uint8)[None, None, :, None].repeat(64, 1).repeat(3, 3)
    means = []
    for dither in (False, True):
        image = Image.open(BytesIO(gif_bytes(shade, 5.0, colours=4, dither=dither)))
        blocks = np.asarray(image.convert("L"), float).mean(axis=0).reshape(16, 4).mean(axis=1)
        means.append(np.abs(blocks - shade[0, 0, :, 0].reshape(16, 4).mean(axis=1)).mean())
    assert means[1] < means[0] / 2

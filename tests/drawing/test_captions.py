import numpy as np
import pytest

from vjepa.drawing.captions import (
    SMALLEST,
    beside,
    enlarged,
    fitted,
    framed,
    joined,
    line_height,
    picture_table,
    text_strip,
    text_width,
    with_header,
)
from vjepa.drawing.palette import RIGHT, rgb
from vjepa.errors import UserError

GREY = np.full((5, 32, 48, 3), 128, np.uint8)


def dark(picture: np.ndarray) -> np.ndarray:
    return (picture < 100).any(axis=-1)


def test_a_header_stands_above_frames_that_stay_as_they_are():
    film = with_header(GREY, "camera")
    assert film.shape == (5, 32 + line_height(), 48, 3)
    assert (film[:, -32:] == GREY).all()
    assert dark(film[0, :-32]).any() and (film[:, :-32] == film[:1, :-32]).all()


@pytest.mark.parametrize("align, side", [("left", slice(0, 60)), ("right", slice(140, 200))])
def test_text_stands_at_the_side_that_is_asked_for(align, side):
    text = dark(text_strip("lift", 200, align=align))
    assert text[:, side].sum() == text.sum() > 0


def test_a_long_text_becomes_smaller_and_then_loses_its_end():
    text, font = fitted("move_left", text_width("move_left"), 14)
    assert text == "move_left" and font.size == 14
    text, font = fitted("move_left", 55, 14)
    assert text == "move_left" and font.size < 14
    text, font = fitted("turn_counterclockwise", 60, 14)
    assert text.startswith("turn") and text.endswith("...")
    assert font.size == SMALLEST and font.getlength(text) <= 60


def test_text_in_full_size_fits_the_width_that_it_asks_for():
    for text in ("i", "move_left", "0.25 s", "cosine 0.93"):
        assert fitted(text, text_width(text) - 6, 14)[0] == text


def test_films_beside_one_another_keep_their_pixels_and_their_order():
    white = np.full_like(GREY, 255)
    film = beside([GREY, white], ["camera", "goal"], gap=4)
    assert film.shape == (5, 32 + line_height(), 48 + 4 + 48, 3)
    assert (film[:, -32:, :48] == 128).all() and (film[:, -32:, 48:] == 255).all()


def test_a_single_frame_stands_still_beside_a_film():
    moving = np.arange(5, dtype=np.uint8)[:, None, None, None] + 0 * GREY
    film = beside([moving, GREY[:1]], gap=0)
    assert (film[:, :, 48:] == 128).all()
    assert film[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_films_that_do_not_fit_one_another_are_one_sentence():
    with pytest.raises(UserError, match=r"\[4, 5\] frames long"):
        beside([GREY, GREY[:4]])
    with pytest.raises(UserError, match=r"\[16, 32\] pixels high"):
        beside([GREY, GREY[:, :16]])
    with pytest.raises(UserError, match="1 headers for 2 films"):
        beside([GREY, GREY], ["camera"])


def test_a_table_of_pictures_has_names_at_its_rows_and_columns():
    table = picture_table([list(GREY[:2]), list(GREY[:2])], ["lift", "lower"], ["0 s", "1 s"], gap=4)
    names = text_width("lower")
    assert table.shape == (line_height() + 2 * (4 + 32), names + 2 * 48 + 4, 3)
    corner, times = table[: line_height(), :names], table[: line_height(), names:]
    assert (corner == 255).all() and dark(times[:, :48]).any() and dark(times[:, 52:]).any()
    first, second = table[line_height() + 4 :][:32, :names], table[-32:, :names]
    assert dark(first).any() and dark(second).any() and (first != second).any()
    assert (table[-32:, -48:] == 128).all()


def test_a_table_without_names_is_its_pictures():
    assert picture_table([list(GREY[:2]), list(GREY[:2])], gap=0).shape == (64, 96, 3)


def test_joined_arrays_have_white_between_them_and_none_at_the_end():
    image = joined([GREY[0], GREY[1]], axis=0, gap=3)
    assert image.shape == (67, 48, 3) and (image[32:35] == 255).all() and (image[-1] == 128).all()


def test_enlarging_smoothly_adds_colours_between_and_sharply_does_not():
    halves = np.zeros((1, 4, 4, 3), np.uint8)
    halves[:, :, 2:] = 200
    assert set(np.unique(enlarged(halves, 16, 16, smooth=False))) == {0, 200}
    smooth = enlarged(halves, 16, 16)
    assert smooth.shape == (1, 16, 16, 3) and len(np.unique(smooth)) > 2


def test_a_frame_has_the_colour_and_the_picture_inside():
    picture = framed(GREY[0], RIGHT, border=3)
    assert picture.shape == (38, 54, 3) and (picture[3:-3, 3:-3] == 128).all()
    assert (picture[0] == rgb(RIGHT)).all() and (picture[:, -1] == rgb(RIGHT)).all()

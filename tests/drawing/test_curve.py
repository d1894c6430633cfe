import numpy as np

from vjepa.drawing.curve import growing_curve
from vjepa.drawing.palette import OURS, rgb


def coloured(frame: np.ndarray) -> np.ndarray:
    return (np.abs(frame.astype(int) - rgb(OURS)) < 40).all(axis=-1)


def test_the_curve_grows_to_the_right_and_keeps_what_it_has_drawn():
    frames = growing_curve([4.0, 2.0, 1.0, 0.5], 80, 120)
    assert frames.shape == (4, 80, 120, 3)
    ends = [np.nonzero(coloured(frame))[1].max() for frame in frames]
    assert ends == sorted(ends) and ends[-1] > 100 and ends[0] < 30
    amounts = [coloured(frame).sum() for frame in frames[1:]]
    assert amounts == sorted(amounts)


def test_a_smaller_value_stands_lower_and_zero_on_the_axis():
    high, low = growing_curve([1.0, 0.0], 80, 120)
    top = np.nonzero(coloured(high))[0].mean()
    dot = coloured(low)[:, 100:]
    assert np.nonzero(dot)[0].mean() > top + 40
    assert abs(np.nonzero(dot)[0].mean() - 70) < 2


def test_one_value_and_values_of_zero_are_drawn():
    assert growing_curve([0.0], 64, 64).shape == (1, 64, 64, 3)
    assert np.isfinite(growing_curve([0.0, 0.0], 64, 64)).all()

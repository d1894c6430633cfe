"""A clock that rises, whatever the stamps do."""

import math
from fractions import Fraction

import numpy as np
import pytest

from vjepa.data.timeline import Stamp, carried_on, falls, likely_rate, steady_span

STEP = Fraction(3600)
LONGEST = Fraction(900_000)
EVEN = [7200 + 3600 * number for number in range(30)]


@pytest.mark.parametrize("stamps", [EVEN, [0, 10, 5000, 5001, 800_000], [-5000, 0, 1]])
def test_stamps_that_rise_stay(stamps):
    assert carried_on(stamps, STEP, LONGEST) == stamps


@pytest.mark.parametrize(
    "second",
    [
        [stamp - 7200 for stamp in EVEN],  # joined with cat
        [stamp - 2**33 for stamp in EVEN],  # wrapped
        [stamp + 2**32 for stamp in EVEN],  # another recording
        [None] * 30,  # says nothing
    ],
    ids=["back", "wrapped", "forward", "missing"],
)
def test_a_clock_that_jumps_is_carried_on_by_one_frame(second):
    ticks = carried_on(EVEN + second, STEP, LONGEST)
    assert ticks == [7200 + 3600 * number for number in range(60)]


def test_distances_after_a_jump_are_kept():
    uneven = [0, 100, 5000, 90_000]
    steps = [100, 4900, 85_000]
    assert np.diff(carried_on(uneven + uneven, STEP, LONGEST)).tolist() == [*steps, 3600, *steps]


def test_a_gap_is_a_gap_up_to_the_longest():
    assert carried_on([0, 900_000, 1_800_001], STEP, LONGEST) == [0, 900_000, 903_600]
    assert carried_on([0, 10**12], STEP, math.inf) == [0, 10**12]


def test_without_any_stamps_frames_are_counted_exactly():
    """A third of a tick is not lost."""
    ticks = carried_on([None] * 3001, Fraction(100, 3), math.inf)
    assert ticks[:4] == [0, 33, 67, 100] and ticks[3000] == 100_000


def test_frames_before_the_first_stamp_are_counted_back():
    assert carried_on([None, None, 7200, 10_800], STEP, LONGEST) == [0, 3600, 7200, 10_800]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_stamps_the_ticks_rise(seed):
    rng = np.random.default_rng(seed)
    stamps = [None if rng.random() < 0.2 else int(rng.integers(-(10**6), 10**6)) for _ in range(50)]
    ticks = carried_on(stamps, STEP, LONGEST)
    assert len(ticks) == 50 and (np.diff(ticks) > 0).all()


def decoded_order(*shown: int, key_every: int = 12) -> list[Stamp]:
    """Stamps of frames that last 10 ticks and are decoded in turn, in time."""
    return [Stamp(tick, 10, 10 * number - 20, number % key_every == 0) for number, tick in enumerate(shown)]


REORDERED = [0, 30, 10, 20, 60, 40, 50, 90, 70, 80, 110, 100, 120, 150, 130, 140]


def test_a_steady_clock():
    assert steady_span(decoded_order(*REORDERED), math.inf) == (0, 150, 10, 16)
    assert steady_span([], math.inf) is None


@pytest.mark.parametrize(
    "stamps",
    [
        decoded_order(*REORDERED) + decoded_order(*REORDERED),
        [stamp._replace(decoded=None) for stamp in decoded_order(*REORDERED, *REORDERED, key_every=16)],
        decoded_order(*REORDERED, 10**6),
        decoded_order(*REORDERED, -(10**6)),
        [Stamp(None, 0, None, True)],
        [*decoded_order(0, 10), Stamp(None, 0, 10, True)],
    ],
    ids=["joined", "without decoding times", "gap", "back, no key frame", "no stamps", "key without a stamp"],
)
def test_a_clock_that_jumps_is_not_steady(stamps):
    assert steady_span(stamps, Fraction(1000)) is None


def test_a_second_field_needs_no_stamp():
    assert steady_span([Stamp(0, 10, 0, True), Stamp(None, 0, None, False)], math.inf) == (0, 0, 10, 1)


def test_stamps_fall_or_rise():
    assert falls([0, 30, 10]) and falls([5, None, 4])
    assert not falls([0, 0, None, 7]) and not falls([])


def test_a_rate_far_off_is_measured():
    tick = Fraction(1, 1000)
    assert likely_rate(Fraction(25), 101, 100, tick) == 1000
    assert likely_rate(Fraction(30_000, 1001), 101, 3337, tick) == Fraction(30_000, 1001)
    assert likely_rate(Fraction(25), 1, 0, tick) == 25

"""The stream of samples is a pure function: passes are permutations, proportions exact, times physical."""

import math
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from vjepa.data.sampling import BLOCK, Mixture, TooShort, clip_times, segment_times, shuffled

THREE = dict(sizes=[700, 50, 9001], weights=[0.5, 0.2, 0.3])


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 12, 100, 101, 1000, 4097])
def test_shuffled_is_a_permutation(size):
    for key in (0, 1, 2**63):
        assert sorted(shuffled(place, size, key) for place in range(size)) == list(range(size))


def test_shuffled_has_no_favourites():
    """Over many keys, every place goes everywhere equally often: chi squared is within six deviations."""
    for size, keys in ((2, 2000), (3, 2000), (5, 2000), (20, 500)):
        seen = np.zeros((size, size))
        for key in range(keys):
            for place in range(size):
                seen[place, shuffled(place, size, key)] += 1
        expected = keys / size
        freedom = (size - 1) ** 2
        assert ((seen - expected) ** 2 / expected).sum() < freedom + 6 * math.sqrt(2 * freedom)


def test_neighbours_do_not_stay_neighbours():
    rows = np.array([shuffled(place, 10_000, 5) for place in range(10_000)])
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.05
    assert (np.diff(rows) == 1).mean() < 0.002


@pytest.mark.parametrize("size", [1, 7, 999, 1000, 1001, 2500])
def test_one_dataset_is_passes_without_repeats(size):
    mixture = Mixture([size], seed=1)
    passes = [[mixture(k)[1] for k in range(n * size, (n + 1) * size)] for n in range(3)]
    assert all(sorted(rows) == list(range(size)) for rows in passes)
    assert size < 5 or passes[0] != passes[1] != passes[2]


def test_every_pass_of_every_dataset_is_a_permutation():
    mixture = Mixture(**THREE, seed=2)
    samples = [mixture(k) for k in range(10 * BLOCK)]
    for dataset, size in enumerate(THREE["sizes"]):
        rows = sorted((mixture._draw(k)[1], row) for k, (d, row) in enumerate(samples) if d == dataset)
        assert [draw for draw, _ in rows] == list(range(len(rows)))  # no draw is left out or dealt twice
        for first in range(0, len(rows) - size + 1, size):
            assert sorted(row for _, row in rows[first : first + size]) == list(range(size))


def test_proportions_hold_in_every_block():
    mixture = Mixture(**THREE, seed=3)
    for block in (0, 1, 2, 10**6, 10**12):
        counts = Counter(mixture(k)[0] for k in range(block * BLOCK, (block + 1) * BLOCK))
        assert counts == {0: 500, 1: 200, 2: 300}


@pytest.mark.parametrize(
    "weights", [[1, 1, 1], [0.188, 0.318, 1e-7], [math.pi, math.e, 0], [0, 1, 0], [1e-9, 1, 1e9]]
)
def test_rounding_is_carried(weights):
    """Whatever the weights, and however long the run, no dataset is off by three samples or more."""
    mixture = Mixture([5, 6, 7], weights)
    for blocks in (1, 2, 3, 1000, 12_345_678):
        drawn = mixture._drawn(blocks * BLOCK)
        assert sum(drawn) == blocks * BLOCK
        total = sum(Fraction(str(weight)) for weight in weights)
        exact = [blocks * BLOCK * Fraction(str(weight)) / total for weight in weights]
        assert all(abs(count - share) < 3 for count, share in zip(drawn, exact, strict=True))
        assert all(np.subtract(mixture._drawn((blocks + 1) * BLOCK), drawn) >= 0)


def test_without_weights_each_row_counts_the_same():
    counts = Counter(Mixture([100, 300, 600])(k)[0] for k in range(5 * BLOCK))
    assert counts == {0: 500, 1: 1500, 2: 3000}


def test_datasets_are_mixed_within_a_block():
    datasets = [Mixture([10, 10], seed=4)(k)[0] for k in range(BLOCK)]
    assert 400 < np.count_nonzero(np.diff(datasets)) < 600


def test_pure_in_any_order_and_in_any_process():
    ks = np.random.default_rng(0).integers(0, 10**9, 200)
    mixture = Mixture(**THREE, seed=5)
    samples = [mixture(int(k)) for k in ks]
    backwards = Mixture(**THREE, seed=5)
    assert samples == [backwards(int(k)) for k in ks[::-1]][::-1]
    assert samples == [Mixture(**THREE, seed=5)(int(k)) for k in ks]
    assert all(type(number) is int for pair in samples for number in pair)


def test_this_stream_stays_this_stream():
    """Checkpoints count samples: the numbers behind them must not change with a version of this file."""
    mixture = Mixture([10, 1000], [1, 3], seed=7)
    assert [mixture(k) for k in (0, 1, 2, 1000, 123_456_789)] == [(0, 5), (1, 328), (0, 3), (0, 4), (1, 30)]


def test_seeds_give_different_streams():
    streams = {tuple(Mixture(**THREE, seed=seed)(k) for k in range(20)) for seed in range(-2, 50)}
    assert len(streams) == 52


def test_replacements_are_other_rows_of_the_same_dataset():
    mixture = Mixture([9, 1], [1, 1], seed=6)
    for k in range(100):
        dataset, row = mixture(k)
        others = [mixture.replacement(k, attempt) for attempt in range(1, 9)]
        assert others == [mixture.replacement(k, attempt) for attempt in range(1, 9)]
        if dataset == 0:
            assert sorted(others) == [(0, other) for other in range(9) if other != row]
        else:
            assert set(others) == {(1, 0)}


@pytest.mark.parametrize(
    "sizes, weights, words",
    [
        ([], None, "needs a row"),
        ([3, 0], None, r"sizes \[3, 0\]"),
        ([3, 4], [1], "got 1 for 2"),
        ([3, 4], [1, -1], r"\[1, -1\]"),
        ([3, 4], [0, 0], "not all 0"),
        ([3, 4], [1, math.nan], "nan"),
        ([3, 4], [1, math.inf], "inf"),
    ],
)
def test_impossible_mixtures_are_refused(sizes, weights, words):
    with pytest.raises(ValueError, match=words):
        Mixture(sizes, weights)


def test_samples_are_counted_from_zero():
    with pytest.raises(ValueError, match="-1"):
        Mixture([3])(-1)


def test_a_sample_costs_less_than_a_tenth_of_a_millisecond():
    mixture = Mixture([10_000_000, 7_000_000, 500_000, 168_913, 3_000], [0.188, 0.318, 0.188, 0.25, 0.056])
    begin = time.process_time()
    for k in range(5000):
        mixture(k)
    assert (time.process_time() - begin) / 5000 < 1e-4


def test_clip_times_are_evenly_spaced_inside_the_window():
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(1000):
        times = clip_times(2.0, 10.0, 16, 4.0, rng)
        np.testing.assert_allclose(np.diff(times), 0.25, atol=1e-12)
        starts.append(times[0])
    assert 2.0 <= min(starts) < 2.05 and 6.2 < max(starts) <= 6.25
    assert np.mean(starts) == pytest.approx(4.125, abs=0.15)


def test_clip_times_without_a_generator_is_the_middle():
    np.testing.assert_allclose(clip_times(2.0, 10.0, 3, 1.0), [5, 6, 7])
    np.testing.assert_allclose(clip_times(0.0, 3.75, 16, 4.0), np.arange(16) / 4)  # fits exactly
    np.testing.assert_allclose(clip_times(1.5, 1.5, 1, 4.0), [1.5])


def test_an_image_lasts_as_long_as_the_clip():
    np.testing.assert_allclose(clip_times(0.0, math.inf, 3, 2.0, np.random.default_rng(0)), [0, 0.5, 1])
    np.testing.assert_allclose(segment_times(0.0, math.inf, 2, 2.0, 2), [[0, 0.5], [0, 0.5]])


def test_too_short_says_how_short():
    for call in (lambda: clip_times(1.0, 4.7, 16, 4.0), lambda: segment_times(1.0, 4.7, 16, 4.0, 2)):
        with pytest.raises(TooShort, match=r"16 frames at 4 fps span 3\.750 s, there are 3\.700 s"):
            call()


def test_segments_spread_evenly():
    times = segment_times(0.0, 13.0, 4, 1.0, 5)
    np.testing.assert_allclose(times[:, 0], [1, 3, 5, 7, 9])
    np.testing.assert_allclose(np.diff(times, axis=1), 1)
    np.testing.assert_allclose(segment_times(0.0, 13.0, 4, 1.0, 1)[0], clip_times(0.0, 13.0, 4, 1.0))

"""Which rows of which datasets come when, and which moments of a video: pure functions of a seed and a number.

Nothing here has a state worth saving. A run that stops after `k` samples goes on with sample `k`, on any number of
processes, and sees what it would have seen.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float64

BLOCK = 1000  # samples in which the mixture's proportions hold exactly, as far as whole samples can
ROUNDS = 6  # of the Feistel network; four make a good shuffle, the others are cheap
MASK = (1 << 64) - 1


class TooShort(ValueError):
    """The video, or the segment of it, is shorter than the clip. The caller knows the path and adds it."""


def clip_times(
    start: float, end: float, frames: int, fps: float | int, rng: np.random.Generator | None = None
) -> Float64[np.ndarray, "t"]:
    """Moments of one clip in seconds, exactly 1 / fps apart: anywhere in [start, end], or in its middle without `rng`.

    Raises TooShort if the clip does not fit. In what never ends (a still picture) it begins at `start`.
    """
    slack = _slack(start, end, frames, fps)
    offset = slack / 2 if rng is None else rng.uniform(0, slack)
    return start + offset + np.arange(frames) / fps


def segment_times(
    start: float, end: float, frames: int, fps: float | int, segments: int
) -> Float64[np.ndarray, "segments t"]:
    """Moments of `segments` clips spread evenly over [start, end]; they overlap where the video is short.

    One segment is the clip in the middle. Raises TooShort like `clip_times`.
    """
    offsets = _slack(start, end, frames, fps) * (np.arange(segments) + 0.5) / segments
    return start + offsets[:, None] + np.arange(frames) / fps


def _slack(start: float, end: float, frames: int, fps: float | int) -> float:
    """Seconds by which a clip can be moved."""
    length = (frames - 1) / fps
    slack = end - start - length
    if slack < -1e-6:
        raise TooShort(
            f"too short: {frames} frames at {fps:g} fps span {length:.3f} s, there are {end - start:.3f} s"
        )
    return max(slack, 0.0) if math.isfinite(slack) else 0.0


class Mixture:
    """An endless shuffled stream over datasets: `mixture(k)` is the (dataset, row) of the k-th sample of the whole run.

    Every block of 1000 samples holds the datasets in the proportions of their weights; what does not come out in whole
    samples is carried to the next block, so no dataset is ever more than a few samples off. Each dataset comes
    shuffled, every row once in a pass, every pass in another order.

    sizes    rows of each dataset
    weights  share of each dataset, in any unit; None: as many as it has rows
    seed     another seed, another stream
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float | int] | None = None, seed: int = 0):
        weights = list(sizes if weights is None else weights)
        if len(weights) != len(sizes):
            raise ValueError(
                f"a mixture needs one weight for each dataset, got {len(weights)} for {len(sizes)}"
            )
        if not sizes or min(sizes) < 1:
            raise ValueError(f"every dataset of a mixture needs a row, got sizes {list(sizes)}")
        if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
            raise ValueError(f"the weights of a mixture are 0 or more, and not all 0, got {weights}")
        self.sizes, self.seed = tuple(map(int, sizes)), int(seed)  # NumPy's integers would overflow in _mix
        exact = [Fraction(str(weight)) for weight in weights]  # str: 0.1 means a tenth
        unit = math.lcm(*(weight.denominator for weight in exact))
        self._weights = [int(weight * unit) for weight in exact]
        self._block: tuple[int, list[tuple[int, int]]] = (-1, [])

    def __call__(self, k: int) -> tuple[int, int]:
        """(dataset, row) of sample `k` >= 0. Depends on the sizes, the weights, the seed and k alone."""
        dataset, draw = self._draw(k)
        size = self.sizes[dataset]
        return dataset, shuffled(draw % size, size, _mix(self.seed, 1, dataset, draw // size))

    def replacement(self, k: int, attempt: int) -> tuple[int, int]:
        """Another row of the same dataset, for when that of sample `k` is bad: another one for each `attempt` >= 1.

        A dataset of one row has no other: it is that row again.
        """
        dataset, row = self(k)
        others = self.sizes[dataset] - 1
        if not others:
            return dataset, row
        step = 1 + shuffled((attempt - 1) % others, others, _mix(self.seed, 2, dataset, k))
        return dataset, (row + step) % self.sizes[dataset]

    def _draw(self, k: int) -> tuple[int, int]:
        """Sample k is the how-manieth draw of which dataset?"""
        if k < 0:
            raise ValueError(f"samples are counted from 0, got {k}")
        number, place = divmod(k, BLOCK)
        if self._block[0] != number:
            self._block = (number, self._deal(number))
        return self._block[1][place]

    def _deal(self, number: int) -> list[tuple[int, int]]:
        """The (dataset, draw) of all samples of a block. Shuffled are only the datasets: draws stay in their order."""
        next_draw = self._drawn(number * BLOCK)
        counts = np.subtract(self._drawn((number + 1) * BLOCK), next_draw)
        # Raw bits, because NumPy keeps those from version to version, and its shuffles not.
        bits = np.random.Philox(key=_mix(self.seed, 0), counter=[0, 0, 0, number]).random_raw(BLOCK)
        dealt = []
        for dataset in np.repeat(np.arange(len(counts)), counts)[np.argsort(bits, kind="stable")].tolist():
            dealt.append((dataset, next_draw[dataset]))
            next_draw[dataset] += 1
        return dealt

    def _drawn(self, samples: int) -> list[int]:
        """How many of the first `samples` come from each dataset.

        Each in turn takes its share of what the ones before it have left: whole numbers that never shrink as the
        samples grow and that sum to them, in exact arithmetic.
        """
        counts, left, weight = [], samples, sum(self._weights)
        for own in self._weights:
            counts.append(left * own // weight if weight else 0)
            left, weight = left - counts[-1], weight - own
        return counts


def shuffled(place: int, size: int, key: int) -> int:
    """Where a shuffle of 0 ... size - 1, chosen by `key`, puts `place`: a permutation that takes no memory.

    A Feistel network over a rectangle of at least `size` cells; what falls outside `size` goes round again.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    while True:
        row, column = divmod(place, columns)
        for n in range(0, ROUNDS, 2):
            row = (row + _mix(key, n, column)) % rows
            column = (column + _mix(key, n + 1, row)) % columns
        place = row * columns + column
        if place < size:
            return place


def _mix(*numbers: int) -> int:
    """64 bits that depend on every bit of the numbers (the finaliser of splitmix64, chained)."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ number) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
        state ^= state >> 31
    return state

"""The order of the rows of several datasets, and the moments of a video: pure functions of a seed.

Nothing here has a state that must be saved. A run that stops after `k` samples goes on with sample `k`, on
any number of processes, and sees the samples that it would have seen without the stop.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float64

BLOCK = 1000
"""The mixture's proportions hold in every block of so many samples, up to fractions of a sample."""
ROUNDS = 6
"""Rounds of the Feistel network. Four make a good shuffle, and the other two are cheap."""
MASK = (1 << 64) - 1


class TooShort(ValueError):
    """The video, or the segment of it, is shorter than the clip. The caller knows the path and adds it."""


def clip_times(
    start: float, end: float, frames: int, fps: float | int, rng: np.random.Generator | None = None
) -> Float64[np.ndarray, "t"]:
    """Moments of one clip in seconds, exactly 1 / fps apart.

    The clip lies anywhere in [start, end], or in the middle without `rng`. In an image, which never ends, it
    begins at `start`. Raises TooShort if it does not fit.
    """
    slack = _slack(start, end, frames, fps)
    # Any moment, not only those of frames: a frame is on screen until the next one.
    offset = slack / 2 if rng is None else rng.uniform(0, slack)
    return start + offset + np.arange(frames) / fps


def segment_times(
    start: float, end: float, frames: int, fps: float | int, segments: int
) -> Float64[np.ndarray, "segments t"]:
    """Moments of `segments` clips spread evenly over [start, end]; they overlap where the video is short.

    One segment is the clip in the middle. Raises TooShort like `clip_times`.
    """
    # Each clip in the middle of its share of the slack, so that a single one is in the middle of the video.
    offsets = _slack(start, end, frames, fps) * (np.arange(segments) + 0.5) / segments
    return start + offsets[:, None] + np.arange(frames) / fps


def _slack(start: float, end: float, frames: int, fps: float | int) -> float:
    """Seconds by which a clip can be moved. Raises TooShort if it does not fit."""
    length = (frames - 1) / fps
    slack = end - start - length
    # A microsecond is forgiven: ends of videos are not exact in floating point.
    if slack < -1e-6:
        raise TooShort(
            f"too short: {frames} frames at {fps:g} fps span {length:.3f} s, there are {end - start:.3f} s"
        )
    # Infinite for an image: a clip of it cannot be moved, since all moments are the same.
    return max(slack, 0.0) if math.isfinite(slack) else 0.0


class Mixture:
    """An endless shuffled stream: `mixture(k)` is the (dataset, row) of the k-th sample of the whole run.

    Every block of 1000 samples holds the datasets in the proportions of their weights. Fractions of a sample
    are carried to the next block, so no dataset is ever more than a few samples off. Each dataset comes
    shuffled: every row once in a pass, every pass in another order.

    sizes    rows of each dataset
    weights  share of each dataset, in any unit; None: as many as it has rows
    seed     decides the whole stream

    Raises ValueError without any dataset or row, and for weights that are negative or all 0.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float | int] | None = None, seed: int = 0
    ) -> None:
        weights = list(sizes if weights is None else weights)
        if len(weights) != len(sizes):
            raise ValueError(
                f"a mixture needs one weight for each dataset, got {len(weights)} for {len(sizes)}"
            )
        if not sizes or min(sizes) < 1:
            raise ValueError(f"every dataset of a mixture needs a row, got sizes {list(sizes)}")
        if not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0:
            raise ValueError(f"the weights of a mixture are 0 or more, and not all 0, got {weights}")

        # NumPy's integers would overflow in _mix.
        self.sizes = tuple(map(int, sizes))
        self.seed = int(seed)

        # As text, 0.1 is exactly a tenth; as a float it is not.
        exact = [Fraction(str(weight)) for weight in weights]
        unit = math.lcm(*(weight.denominator for weight in exact))
        self._weights = [int(weight * unit) for weight in exact]
        # The block that was dealt last: its number, and its samples. The next k is mostly in it too.
        self._block: tuple[int, list[tuple[int, int]]] = (-1, [])

    def __call__(self, k: int) -> tuple[int, int]:
        """(dataset, row) of sample `k` >= 0. Depends on the sizes, the weights, the seed and k alone."""
        dataset, draw = self._draw(k)
        size = self.sizes[dataset]
        passes, place = divmod(draw, size)
        # A key for each pass. The 1 keeps these keys apart from those of blocks (0) and replacements (2).
        return dataset, shuffled(place, size, _mix(self.seed, 1, dataset, passes))

    def replacement(self, k: int, attempt: int) -> tuple[int, int]:
        """Another row of the same dataset in place of a bad one: a different one for each `attempt` >= 1.

        A dataset of one row has no other: it is that row again.
        """
        dataset, row = self(k)
        others = self.sizes[dataset] - 1
        if not others:
            return dataset, row
        # A step of 1 to size - 1 never leads back to the bad row, and each attempt takes another one.
        step = 1 + shuffled((attempt - 1) % others, others, _mix(self.seed, 2, dataset, k))
        return dataset, (row + step) % self.sizes[dataset]

    def _draw(self, k: int) -> tuple[int, int]:
        """The dataset of sample k, and how many draws of that dataset come before it."""
        if k < 0:
            raise ValueError(f"samples are counted from 0, got {k}")
        number, place = divmod(k, BLOCK)
        if self._block[0] != number:
            self._block = (number, self._deal(number))
        return self._block[1][place]

    def _deal(self, number: int) -> list[tuple[int, int]]:
        """(dataset, draw) of all samples of a block: datasets are shuffled, draws of each stay in order."""
        # Both counts follow from the block's number, so any block can be dealt without those before it.
        next_draw = self._drawn(number * BLOCK)
        counts = np.subtract(self._drawn((number + 1) * BLOCK), next_draw)

        # Raw bits, because NumPy keeps those from version to version, but not its shuffles.
        bits = np.random.Philox(key=_mix(self.seed, 0), counter=[0, 0, 0, number]).random_raw(BLOCK)
        datasets = np.repeat(np.arange(len(counts)), counts)[np.argsort(bits, kind="stable")]

        samples = []
        for dataset in datasets.tolist():
            samples.append((dataset, next_draw[dataset]))
            next_draw[dataset] += 1
        return samples

    def _drawn(self, samples: int) -> list[int]:
        """How many of the first `samples` come from each dataset.

        Each dataset in turn takes its share of what the ones before it have left. In exact arithmetic these
        are whole numbers that never shrink as `samples` grows, and that sum to it.
        """
        counts = []
        samples_left = samples
        weight_left = sum(self._weights)
        for weight in self._weights:
            count = samples_left * weight // weight_left if weight_left else 0
            counts.append(count)
            samples_left -= count
            weight_left -= weight
        return counts


def shuffled(place: int, size: int, key: int) -> int:
    """Where a shuffle of 0 ... size - 1, chosen by `key`, puts `place`: a permutation that takes no memory.

    It is a Feistel network over a rectangle of at least `size` cells: each round moves one coordinate by a
    hash of the other, which can be undone, so no two places ever meet. A place that falls outside `size` goes
    through the network again.
    """
    # Nearly a square, so that both coordinates are mixed equally well. Fewer than `rows` of its cells lie
    # outside `size`, so the network seldom runs twice.
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
    state = 0x9E3779B97F4A7C15  # splitmix64's own start: zeros would stay zeros
    for number in numbers:
        state = (state ^ number) * 0xBF58476D1CE4E5B9 & MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & MASK
        state ^= state >> 31
    return state

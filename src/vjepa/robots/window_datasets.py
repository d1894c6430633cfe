"""Data sets of windows: an endless one for training, a fixed one for evaluation.

    windows = TrainingTrajectories(datasets, weights=[3.0, 1.0], config=TrajectoryConfig(), seed=0)
    window = windows[k]       # a pure function of (seed, k)

Training replaces an episode that cannot be decoded by another draw, a bounded number of times, and reports it
with the batch. Evaluation never replaces an episode.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from vjepa.data.decode_error import DecodeError
from vjepa.data.loader import draw_sample
from vjepa.data.sampling import Mixture
from vjepa.robots.episodes import Episodes
from vjepa.robots.window_batches import EpisodeWindow, lost_window
from vjepa.robots.windows import TrajectoryConfig, Windows


class TrainingTrajectories(Dataset):
    """An endless stream: the mixture chooses the episode of sample k, a generator of (seed, k) the rest."""

    def __init__(
        self, datasets: Sequence[Episodes], weights: Sequence[float], config: TrajectoryConfig, seed: int
    ) -> None:
        self.windows = [Windows(data, config) for data in datasets]
        self.mixture = Mixture([len(windows) for windows in self.windows], weights, seed)

    def __getitem__(self, k: int) -> EpisodeWindow:
        window, bad = draw_sample(self.mixture, k, self.read)
        return lost_window(k, bad) if window is None else window._replace(index=k, bad=bad)

    def read(self, source: int, i: int, rng: np.random.Generator) -> EpisodeWindow:
        """A random window of the i-th usable episode, seen by a random camera. Raises DecodeError."""
        windows = self.windows[source]
        episode = int(windows.episodes[i])
        # The order of draws is fixed: another one would change every sample of every seed.
        start = int(rng.integers(windows.starts(episode)))
        camera = windows.cameras[rng.integers(len(windows.cameras))]
        return windows.read(episode, start, camera, rng)._replace(source=source)


class EvaluationTrajectories(Dataset):
    """The same windows every time: `config.windows` of every episode, evenly spread, centrally cropped."""

    def __init__(self, data: Episodes, config: TrajectoryConfig) -> None:
        self.windows = Windows(data, replace(config, frames=config.evaluated_frames))
        # Each window in the middle of its share of the starts, so that a single one is in the middle.
        shares = (np.arange(config.windows) + 0.5) / config.windows
        self.items: list[tuple[int, int]] = []
        for episode in self.windows.episodes.tolist():
            starts = (shares * self.windows.starts(episode)).astype(int).tolist()
            # A short episode has fewer starts than windows are asked for; each start counts once.
            self.items += [(episode, start) for start in dict.fromkeys(starts)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> EpisodeWindow:
        episode, start = self.items[i]
        try:
            # One camera: more of them would count the same actions several times.
            return self.windows.read(episode, start, self.windows.cameras[0], None)._replace(index=i)
        except DecodeError as error:
            return lost_window(i, [str(error)])

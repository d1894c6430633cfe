"""The data module of robot trajectories: recorded datasets in, batches of windows out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from vjepa.data.digest import array_digest, joint_digest
from vjepa.data.module import ResumableData, check_sources
from vjepa.robots.episodes import Columns, Episodes
from vjepa.robots.readers.lerobot import load_lerobot
from vjepa.robots.schema import END_EFFECTOR, StateSchema
from vjepa.robots.window_batches import collate_windows
from vjepa.robots.window_datasets import EvaluationTrajectories, TrainingTrajectories
from vjepa.robots.windows import TrajectoryConfig, Windows

CHECKED_WINDOWS = 64
"""Windows whose actions are compared with the schema's bounds before training."""


@dataclass(frozen=True)
class RobotSource:
    """One dataset of a mixture."""

    folder: str
    """Folder of a LeRobotDataset v3.0."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""
    columns: Columns = Columns()
    """Names of its columns."""


class TrajectoryData(ResumableData):
    """Robot trajectories for training, validation and test."""

    collate = staticmethod(collate_windows)

    def __init__(
        self,
        train: list[RobotSource],
        val: RobotSource | None = None,
        test: RobotSource | None = None,
        schema: StateSchema = END_EFFECTOR,
        window: TrajectoryConfig = TrajectoryConfig(),
        batch_size: int = 8,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        """
        Args:
            train: Datasets to draw training windows from, each episode as often as any other of its dataset.
            val: Dataset for validation, each of its windows seen once.
            test: Dataset for the test, evaluated once, at the end.
            schema: What states and actions are, in all of the datasets.
            window: What one window is.
            batch_size: Windows per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order of episodes, the moments, the cameras and the crops.
        """
        super().__init__(batch_size, workers, max_bad_share, seed)
        check_sources(train, "one dataset")
        self.train = train
        self.val = val
        self.test = test
        self.schema = schema
        self.window = window

    def load_source(self, source: RobotSource) -> Episodes:
        """Read and check one dataset. Raises TrajectoryError."""
        return load_lerobot(source.folder, self.schema, source.columns, self.window.cameras)

    @cached_property
    def train_data(self) -> list[Episodes]:
        return [self.load_source(source) for source in self.train]

    @cached_property
    def val_data(self) -> Episodes | None:
        return self.val and self.load_source(self.val)

    @cached_property
    def test_data(self) -> Episodes | None:
        return self.test and self.load_source(self.test)

    @property
    def held_out(self) -> list[Episodes]:
        """Validation and test, if the recipe names them."""
        # A test set that cannot be read should stop the run now, not after hours of training.
        return [data for data in (self.val_data, self.test_data) if data]

    def setup(self, stage: str) -> None:
        """Read what this stage needs, so that a mistake in the data stops the run before it starts."""
        if stage == "fit":
            # Both warnings come before training: afterwards nobody could act on them.
            training = self.training_samples()
            evaluation = [EvaluationTrajectories(data, self.window).windows for data in self.held_out]
            warn_of_short_episodes([*training.windows, *evaluation])
            # Actions alone: without pixels no video is decoded.
            without_pixels = replace(self.window, pixels=False)
            warn_of_large_actions(self.training_windows(without_pixels), self.schema)
        if stage == "validate":
            _ = self.val_data
        if stage == "test":
            _ = self.test_data

    def training_windows(self, window: TrajectoryConfig) -> TrainingTrajectories:
        """The draws of training for any kind of window: the same seed draws the same episodes and moments."""
        weights = [source.weight for source in self.train]
        return TrainingTrajectories(self.train_data, weights, window, self.seed)

    def trained_on(self) -> dict:
        clip = {"frames": self.window.frames, "fps": self.window.fps, "size": self.window.size}
        return {"clip": clip, "data": joint_digest(map(episodes_digest, self.train_data))}

    def training_samples(self) -> TrainingTrajectories:
        return self.training_windows(self.window)

    def validation_samples(self) -> EvaluationTrajectories | None:
        return None if self.val_data is None else EvaluationTrajectories(self.val_data, self.window)

    def test_dataloader(self) -> DataLoader | list:
        if self.test_data is None:
            return []
        return self.evaluation_loader(EvaluationTrajectories(self.test_data, self.window))


def episodes_digest(data: Episodes) -> str:
    """A digest of the lengths, times and states of recorded episodes, wherever they lie."""
    return array_digest(data.length, data.times, data.states.numpy())


def warn_of_short_episodes(datasets: Sequence[Windows]) -> None:
    """Warn of each dataset that leaves out episodes: how many, and why the first."""
    for windows in datasets:
        if windows.short:
            count = f"{len(windows.short)} of {len(windows.data)}"
            rank_zero_warn(f"{count} episodes are left out, the first: {windows.short[0]}")


def warn_of_large_actions(windows: TrainingTrajectories, schema: StateSchema) -> None:
    """Warn if most actions lie beyond the bounds within which a planner will search."""
    # The first draws of the run, so that every dataset of the mixture has its share.
    actions = torch.stack([windows[k].actions for k in range(CHECKED_WINDOWS)])
    share = schema.outside(actions)
    # Some actions beyond the bounds are outliers; most of them are a mistake in units.
    if share > 0.5:
        rank_zero_warn(
            f"{share:.0%} of the actions lie beyond schema.bounds: planning would search where there are few "
            "data; check the units and data.window.fps, or give other bounds"
        )

"""The data module of robot trajectories: LeRobot folders in, batches of windows out, in an order that resumes exactly."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Subset

from vjepa.data.loader import GlobalOrder, ResumableLoader, ignore_interrupt
from vjepa.errors import require
from vjepa.robots.episodes import Columns
from vjepa.robots.readers.lerobot import LeRobot, load_lerobot
from vjepa.robots.schema import END_EFFECTOR, StateSchema
from vjepa.robots.windows import (
    EvaluationTrajectories,
    TrainingTrajectories,
    TrajectoryConfig,
    Windows,
    collate_windows,
)

PROBES = 64
"""Windows whose actions are compared with the schema's bounds before training."""


@dataclass(frozen=True)
class RobotSource:
    """One dataset of a mixture."""

    folder: str
    """A LeRobotDataset v3.0."""
    weight: float = 1.0
    """Share of the draws, relative to the other sources."""
    columns: Columns = Columns()
    """What its columns are called."""


class TrajectoryData(L.LightningDataModule):
    """Robot trajectories for training, validation and test."""

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
            test: Dataset for the test, looked at once, at the end.
            schema: What states and actions are, in all of the datasets.
            window: What one window is.
            batch_size: Windows per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order of episodes, the moments, the cameras and the crops.
        """
        super().__init__()
        require(bool(train), "data.train is empty; give one dataset or more")
        require(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")
        require(workers >= 0, f"data.workers={workers} must be 0 or more")
        require(
            0 <= max_bad_share <= 1,
            f"data.max_bad_share={max_bad_share} is a share; give a number from 0 to 1",
        )
        require(all(source.weight > 0 for source in train), "data.train: every weight must be positive")
        self.train, self.val, self.test, self.schema, self.window = train, val, test, schema, window
        self.batch_size, self.workers, self.max_bad_share, self.seed = (
            batch_size,
            workers,
            max_bad_share,
            seed,
        )

    def load(self, source: RobotSource) -> LeRobot:
        """Read and check one dataset. Raises TrajectoryError."""
        return load_lerobot(source.folder, self.schema, source.columns, self.window.cameras)

    @cached_property
    def train_data(self) -> list[LeRobot]:
        return [self.load(source) for source in self.train]

    @cached_property
    def val_data(self) -> LeRobot | None:
        return self.val and self.load(self.val)

    @cached_property
    def test_data(self) -> LeRobot | None:
        return self.test and self.load(self.test)

    @property
    def held_out(self) -> list[LeRobot]:
        """Validation and test, as far as they are named: a fit looks at both, though the test comes last."""
        return [data for data in (self.val_data, self.test_data) if data]

    def setup(self, stage: str) -> None:
        """Read what this stage needs, so that a mistake in the data stops the run before it starts."""
        if stage == "fit":
            windows = self.training_windows(self.window)
            evaluated = [EvaluationTrajectories(data, self.window).windows for data in self.held_out]
            warn_of_short([*windows.windows, *evaluated])
            warn_of_actions(self.training_windows(replace(self.window, pixels=False)), self.schema)
        if stage == "validate":
            _ = self.val_data
        if stage == "test":
            _ = self.test_data

    def training_windows(self, window: TrajectoryConfig) -> TrainingTrajectories:
        return TrainingTrajectories(
            self.train_data, [source.weight for source in self.train], window, self.seed
        )

    def train_dataloader(self) -> ResumableLoader:
        windows, world = self.training_windows(self.window), self.trainer.world_size
        # An epoch holds whole optimiser steps: Lightning would end it with a step of too few micro-batches.
        accumulated = self.trainer.accumulate_grad_batches
        steps = max(1, sum(map(len, windows.windows)) // (self.batch_size * world * accumulated))
        order = GlobalOrder(steps * accumulated, self.batch_size, self.trainer.global_rank, world)
        return ResumableLoader(windows, batch_sampler=order, **self.loader_settings())

    def val_dataloader(self) -> DataLoader | list:
        return [] if self.val_data is None else self.evaluation_loader(self.val_data)

    def test_dataloader(self) -> DataLoader | list:
        return [] if self.test_data is None else self.evaluation_loader(self.test_data)

    def evaluation_loader(self, data: LeRobot) -> DataLoader:
        """Every window exactly once over all ranks: shares may differ by one, nothing is padded."""
        windows = EvaluationTrajectories(data, self.window)
        share = Subset(windows, range(self.trainer.global_rank, len(windows), self.trainer.world_size))
        return DataLoader(share, batch_size=self.batch_size, **self.loader_settings())

    def loader_settings(self) -> dict:
        on_gpu = self.trainer.num_devices > 0 and self.trainer.strategy.root_device.type == "cuda"
        return {
            "num_workers": self.workers,
            "collate_fn": collate_windows,
            "worker_init_fn": ignore_interrupt,
            "pin_memory": on_gpu,
            "persistent_workers": self.workers > 0,
        }


def warn_of_short(datasets: Sequence[Windows]) -> None:
    """Name the episodes that are left out: how many, and the first."""
    for windows in datasets:
        if windows.short:
            left, there = len(windows.short), len(windows.data)
            rank_zero_warn(f"{left} of {there} episodes are left out, the first: {windows.short[0]}")


def warn_of_actions(windows: TrainingTrajectories, schema: StateSchema) -> None:
    """Say so if most actions lie beyond the bounds within which a planner will search."""
    share = schema.outside(torch.stack([windows[k].actions for k in range(PROBES)]))
    if share > 0.5:
        rank_zero_warn(
            f"{share:.0%} of the actions lie beyond schema.bounds: planning would search where there are few data; "
            f"check the units and trajectory.fps, or give other bounds"
        )

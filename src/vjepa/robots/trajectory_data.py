"""The data module of robot trajectories: recorded datasets in, batches of windows out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch.utils.data import DataLoader

from vjepa.data.digest import DIGITS, DataDigest, array_digest, joint_digest
from vjepa.data.module import ResumableData, check_sources, too_many_bad
from vjepa.errors import announce
from vjepa.robots.episodes import Columns, Episodes, TrajectoryError
from vjepa.robots.left_out import first_reasons
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
        timeout: float = 300.0,
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
            max_bad_share: Training stops once more than this share of draws could not be decoded, and does
                not begin if a larger share of a dataset's episodes is bad.
            seed: Decides the order of episodes, the moments, the cameras and the crops.
            timeout: Seconds that a batch, or a single file, may take before the run ends with its name.
        """
        super().__init__(batch_size, workers, max_bad_share, seed, timeout)
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
            # All of this is said before training: afterwards nobody could act on it.
            training = self.training_samples()
            evaluation = [EvaluationTrajectories(data, self.window).windows for data in self.held_out]
            self.report_left_out([*training.windows, *evaluation])
            # Actions alone: without pixels no video is decoded.
            without_pixels = replace(self.window, pixels=False)
            warn_of_large_actions(self.training_windows(without_pixels), self.schema)
        if stage == "validate":
            _ = self.val_data
        if stage == "test":
            _ = self.test_data

    def report_left_out(self, datasets: Sequence[Windows]) -> None:
        """Say which episodes are not used, and list them in the folder of the run.

        Raises TrajectoryError if a dataset has too many bad ones.
        """
        reasons = [reason for windows in datasets for reason in windows.left_out]
        where = ""
        if self.trainer is not None:
            file = Path(self.trainer.default_root_dir) / "left_out_episodes.txt"
            write_lines(file, list(dict.fromkeys(reasons)))
            where = f"; all are listed in {file}" if reasons else ""
        if where:
            announce(f"all episodes that are left out are listed in {file}")
        for windows in datasets:
            if windows.short:
                share = f"{len(windows.short)} of {len(windows.data)}"
                sentence = f"{share} episodes are too short for a window, {first_reasons(windows.short)}"
                announce(f"{windows.data.folder}: {sentence}")
            check_bad_share(windows.data, self.max_bad_share, where)

    def training_windows(self, window: TrajectoryConfig) -> TrainingTrajectories:
        """The draws of training for any kind of window: the same seed draws the same episodes and moments."""
        weights = [source.weight for source in self.train]
        return TrainingTrajectories(self.train_data, weights, window, self.seed)

    def trained_on(self) -> dict:
        clip = {"frames": self.window.frames, "fps": self.window.fps, "size": self.window.size}
        return {"clip": clip, "data": joint_digest(map(episodes_digest, self.train_data))}

    def data_digests(self) -> dict[str, DataDigest]:
        named = {f"train.{i}": data for i, data in enumerate(self.train_data)}
        named |= {"val": self.val_data, "test": self.test_data}
        return {name: fingerprint_digest(data) for name, data in named.items() if data}

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


def fingerprint_digest(data: Episodes) -> DataDigest:
    """What a dataset is now, for a run that goes on."""
    return DataDigest(str(data.folder), len(data), "episodes", data.fingerprint[:DIGITS])


@rank_zero_only
def write_lines(file: Path, lines: Sequence[str]) -> None:
    """Write the lines in place of those of an earlier run; without any there is no file."""
    if not lines:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def check_bad_share(data: Episodes, limit: float, where: str) -> None:
    """Raise TrajectoryError if too many episodes of a dataset are bad. Missing files do not count."""
    bad = data.left_out.bad
    total = len(data) + len(bad)
    # Beyond half of them, a small dataset is most likely read in a wrong way as a whole.
    if too_many_bad(len(bad), total, limit) or len(bad) > max(limit, 0.5) * total:
        raise TrajectoryError(
            f"{data.folder}: {len(bad)} of {total} episodes are bad, more than data.max_bad_share={limit}, "
            f"{first_reasons(bad)}{where}"
        )


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

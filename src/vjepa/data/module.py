"""What all data modules share: loader settings, order, split over the ranks, and the limit of bad files.

A data module gives its training samples (a data set without end that draws from a `mixture`), its validation
samples (a data set of rows) and a `collate` function:

    class PairData(ResumableData):
        collate = staticmethod(collate_pairs)

        def training_samples(self): return TrainingPairs(...)
        def validation_samples(self): return EvaluationPairs(...)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import lightning as L
from torch.utils.data import BatchSampler, Dataset

from vjepa.data.digest import DataDigest
from vjepa.data.loader import Epoch, GlobalOrder, Loader, ResumableLoader, loader_settings
from vjepa.errors import require

GRACE = 100
"""The share of bad draws is taken of at least this many."""

Collate = Callable[[Sequence], NamedTuple]


class ResumableData(L.LightningDataModule):
    """Batches in an order that is a function of (seed, draw), resumes exactly, and is shared by the ranks.

    Args:
        batch_size: Samples per device and step.
        workers: Processes that decode, per device.
        max_bad_share: Training stops once more than this share of draws could not be decoded.
        seed: Decides the order and everything else that is random.
        timeout: Seconds that a batch, or a single file, may take.

    Raises UserError for settings that are out of range.
    """

    collate: Collate

    def __init__(
        self, batch_size: int, workers: int, max_bad_share: float, seed: int, timeout: float
    ) -> None:
        super().__init__()
        require(batch_size > 0, f"data.batch_size={batch_size} must be 1 or more")
        require(workers >= 0, f"data.workers={workers} must be 0 or more")
        is_share = 0 <= max_bad_share <= 1
        require(is_share, f"data.max_bad_share={max_bad_share} is a share; give a number from 0 to 1")
        require(timeout > 0, f"data.timeout={timeout} is a number of seconds; give one above 0")
        self.batch_size = batch_size
        self.workers = workers
        self.max_bad_share = max_bad_share
        self.seed = seed
        self.timeout = timeout

    def trained_on(self) -> dict:
        """What an export says of this data: training clips as `clip` (frames, fps, size), a digest as `data`.

        A data module that cannot say leaves them out.
        """
        return {}

    def data_digests(self) -> dict[str, DataDigest]:
        """What each source of the recipe is now, by its setting below `data`: `train.0`, `val`, `test`.

        A run that goes on compares them with those of its beginning. It is asked for before `setup`.
        """
        return {}

    def training_samples(self) -> Dataset:
        """Sample k of the run, for every k; its `mixture` says which rows there are."""
        raise NotImplementedError

    def validation_samples(self) -> Dataset | None:
        """Every validation row once; None if the recipe has no validation."""
        raise NotImplementedError

    def train_dataloader(self) -> ResumableLoader:
        samples = self.training_samples()
        order = self.order_of(samples)
        # By now Lightning has loaded the checkpoint. Every finished step took so many batches.
        order.consumed = self.trainer.global_step * self.trainer.accumulate_grad_batches
        return ResumableLoader(samples, batch_sampler=order, **self.loader_settings(self.collate))

    def val_dataloader(self) -> Loader | list:
        samples = self.validation_samples()
        # For an empty list Lightning runs no validation.
        return [] if samples is None else self.evaluation_loader(samples)

    def order_of(self, samples: Dataset) -> GlobalOrder:
        """The order of training; an epoch draws about as many samples as there are rows."""
        # The order itself is shared out by rank, so stages set trainer.use_distributed_sampler to false.
        world = self.trainer.world_size
        return GlobalOrder(self.epoch_of(samples), self.batch_size, self.trainer.global_rank, world)

    def epoch_of(self, samples: Dataset) -> Epoch:
        """One epoch per rank: at least the batches of one optimiser step, and as many as Lightning takes.

        Raises UserError for settings of the Trainer that do not fit an epoch of that length.
        """
        # An epoch holds whole optimiser steps: Lightning would end it with a step of too few micro-batches.
        accumulated = self.trainer.accumulate_grad_batches
        rows_per_step = self.batch_size * self.trainer.world_size * accumulated
        batches = max(1, sum(samples.mixture.sizes) // rows_per_step) * accumulated
        limit = self.trainer.limit_train_batches
        # A number of batches, or a share of them.
        taken = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        check_epoch(self.trainer, batches, taken)
        return Epoch(batches, taken, repeats=self.trainer.overfit_batches > 0)

    def evaluation_loader(self, samples: Dataset, collate: Collate | None = None) -> Loader:
        """Every sample exactly once over all ranks: shares may differ by one, nothing is padded."""
        # Not a DistributedSampler: it repeats rows until all shares are equal, and scores count them twice.
        share = range(self.trainer.global_rank, len(samples), self.trainer.world_size)
        # A device without any sample gets an empty batch: without a batch, Lightning skips the evaluation
        # there, and the other devices wait for its part of the scores without end.
        batches = list(BatchSampler(share, self.batch_size, drop_last=False)) or [[]]
        settings = self.loader_settings(collate or self.collate)
        return Loader(samples, batch_sampler=batches, **settings)

    def loader_settings(self, collate: Collate) -> dict:
        return loader_settings(self.workers, self.timeout) | {
            "collate_fn": collate,
            # A GPU copies from pinned memory while it computes. For a CPU it would be one more copy.
            "pin_memory": self.trainer.strategy.root_device.type == "cuda",
            # Starting workers takes seconds, in every epoch and every validation.
            "persistent_workers": self.workers > 0,
        }


def check_epoch(trainer: L.Trainer, batches: int, taken: int) -> None:
    """Raise UserError if Lightning would take no batch of an epoch, or a part of an optimiser step."""
    overfits = trainer.overfit_batches > 0
    name = "overfit_batches" if overfits else "limit_train_batches"
    limit = f"trainer.{name}={trainer.limit_train_batches} of an epoch of {batches} batches"
    require(taken > 0, f"{limit} is less than one batch; give a whole number of batches")
    step = trainer.accumulate_grad_batches
    require(
        bool(trainer.fast_dev_run) or taken % step == 0,
        f"{limit} is {taken}, and trainer.accumulate_grad_batches={step} makes one optimiser step of {step}; "
        f"give a multiple of {step}",
    )
    # None for an interval of time.
    interval = getattr(trainer, "val_check_interval", None)
    in_epoch = trainer.check_val_every_n_epoch is not None and trainer.limit_val_batches > 0
    require(
        not (in_epoch and isinstance(interval, int) and interval > taken),
        f"trainer.val_check_interval={interval} is more than the {taken} batches of an epoch; to count "
        "batches over all epochs, set trainer.check_val_every_n_epoch to null",
    )


def too_many_bad(bad: int, draws: int, max_share: float) -> bool:
    """Whether more than `max_share` of the draws were bad."""
    # A share of few draws says nothing: one bad file among the first ten would be 10 %.
    return bad > max_share * max(draws, GRACE)


def check_sources(sources: Sequence, expected: str, name: str = "data.train") -> None:
    """Raise UserError unless there are sources of a mixture, each with a positive weight."""
    require(bool(sources), f"{name} is empty; give {expected} or more")
    require(all(source.weight > 0 for source in sources), f"{name}: every weight must be positive")

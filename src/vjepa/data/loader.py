"""The order of an endless stream of samples, the replacement of bad ones, and a loader that resumes exactly.

A training sample is a pure function of (seed, k), where k counts the samples of the whole run over all ranks
and epochs. So the state of a run's data is one number: how many batches it has consumed. It follows from the
number of finished steps.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Sampler

from vjepa.data.decode_error import DecodeError
from vjepa.data.reading import WorkerNotes
from vjepa.data.sampling import Mixture
from vjepa.data.workers import begin_worker, failures_as_errors

ATTEMPTS = 8
"""Rows that are tried for a sample before it is given up."""

Sample = TypeVar("Sample")


class Epoch(NamedTuple):
    """How many batches an epoch has, per rank."""

    batches: int
    taken: int
    """Batches of it that are trained on, which `trainer.limit_train_batches` may lower."""
    repeats: bool = False
    """Whether every epoch takes the same ones, as `trainer.overfit_batches` asks for."""


class GlobalOrder(Sampler[list[int]]):
    """This rank's batches of sample numbers, counted over all ranks and epochs.

    Args:
        epoch: How many batches an epoch has.
        batch: Samples of a batch.
        rank: This process, counted from 0.
        world: How many processes there are.
    """

    def __init__(self, epoch: Epoch, batch: int, rank: int, world: int) -> None:
        self.epoch = epoch
        self.batch = batch
        self.rank = rank
        self.world = world
        self.consumed = 0

    def __len__(self) -> int:
        # Without a length, Lightning reads one batch ahead, and a resumed run would skip that batch. From
        # this length it computes itself how many batches it takes.
        return self.epoch.batches

    def __iter__(self) -> Iterator[list[int]]:
        """From the first batch not yet consumed to the last that is taken of its epoch."""
        # Read once: `consumed` grows with what is handed over, while the workers are some batches ahead.
        taken = self.epoch.taken
        begun = self.consumed // taken
        for number in range(self.consumed, (begun + 1) * taken):
            yield self.batch_at(number)

    def batch_at(self, number: int) -> list[int]:
        """The samples of the batch that this rank takes as number `number` of the run, counted from 0."""
        return self.samples_of(number % self.epoch.taken if self.epoch.repeats else number)

    def samples_of(self, number: int) -> list[int]:
        """The samples of this rank's batch of that number."""
        # The ranks' batches of one number lie side by side, so that no sample is drawn twice.
        first = (number * self.world + self.rank) * self.batch
        return list(range(first, first + self.batch))


def draw_sample(
    mixture: Mixture, k: int, read: Callable[[int, int, np.random.Generator], Sample]
) -> tuple[Sample | None, list[str]]:
    """Sample k of a mixture, and the reasons why rows that were tried before it could not be decoded.

    `read(source, row, generator)` reads a row. Where it raises DecodeError, another row of the same source
    takes its place; after ATTEMPTS rows the sample is None. Each attempt has a generator of its own, keyed
    by (seed, k).
    """
    bad: list[str] = []
    for attempt in range(ATTEMPTS):
        # From the same source, so that bad files do not shift the proportions of the mixture.
        source, row = mixture(k) if attempt == 0 else mixture.replacement(k, attempt)
        # (seed, k) names a stream of its own, and the attempt a place in it where its draws begin.
        key = np.array([mixture.seed, k], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key, counter=attempt))
        try:
            return read(source, row, generator), bad
        except DecodeError as error:
            bad.append(str(error))
    return None, bad


class Loader(DataLoader):
    """A loader that names the file where a worker does not answer or has ended; see `loader_settings`."""

    waited = 0.0
    """Seconds that the run has waited for batches."""

    @property
    def reading(self) -> WorkerNotes:
        """What the workers read; `loader_settings` makes it."""
        return self.worker_init_fn.args[0]

    def __iter__(self) -> Iterator:
        with failures_as_errors(self):
            batches = super().__iter__()
        while True:
            begin = time.perf_counter()
            with failures_as_errors(self):
                batch = next(batches, None)
            self.waited += time.perf_counter() - begin
            if batch is None:
                return
            yield batch


class ResumableLoader(Loader):
    """A loader that counts the batches it has handed over, and not those it prefetched."""

    def __iter__(self) -> Iterator[NamedTuple]:
        for batch in super().__iter__():
            # Counted before the batch is used: a checkpoint at the end of its step goes on with the next one.
            self.batch_sampler.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        # Empty, since the place follows from the step. Lightning warns of a loader without these methods.
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def loader_settings(workers: int, timeout: float) -> dict:
    """The settings of a Loader that concern its workers, of which a batch may take `timeout` seconds."""
    return {
        "num_workers": workers,
        "timeout": timeout if workers else 0,
        "worker_init_fn": partial(begin_worker, WorkerNotes(workers)),
    }

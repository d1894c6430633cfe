"""Loader."""

import signal
import time
from collections.abc import Iterator

from torch.utils.data import DataLoader, Sampler

from vjepa.data.clips import Batch


class GlobalOrder(Sampler[list[int]]):
    """This rank's batches of sample numbers, counted over all ranks and epochs, so that its state is one number."""

    def __init__(self, per_epoch: int, batch: int, rank: int, world: int) -> None:
        self.per_epoch, self.batch, self.rank, self.world = per_epoch, batch, rank, world
        self.consumed = 0

    def __len__(self) -> int:
        return self.per_epoch

    def __iter__(self) -> Iterator[list[int]]:
        """From the first batch not yet consumed to the end of its epoch."""
        for number in range(self.consumed, (self.consumed // self.per_epoch + 1) * self.per_epoch):
            first = (number * self.world + self.rank) * self.batch
            yield list(range(first, first + self.batch))


class ResumableLoader(DataLoader):
    """A loader that Lightning's checkpoints can save: state_dict counts the batches handed over, not those prefetched."""

    waited = 0.0
    """Seconds the run has stood still for want of a batch."""

    def __iter__(self) -> Iterator[Batch]:
        batches = super().__iter__()
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            self.batch_sampler.consumed += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"consumed": self.batch_sampler.consumed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.consumed = state["consumed"]


def ignore_interrupt(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the main one decides when the workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


GRACE = 100  # draws before the share of bad files is judged

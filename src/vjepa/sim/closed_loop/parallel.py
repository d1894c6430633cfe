"""Many episodes over several processes, each of which loads the networks that it needs once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Protocol

import torch
from tqdm import tqdm

from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job
from vjepa.sim.closed_loop.setting import Setting


class Player(Protocol):
    """What plays jobs in one process, such as an `EpisodeRunner`."""

    def play(self, job: Job) -> tuple | None: ...


def play_all(
    jobs: Sequence[Job],
    setting: Setting,
    workers: int,
    player: Callable[[Setting], Player] = EpisodeRunner,
) -> Iterator[tuple[Job, tuple | None]]:
    """Play jobs. Yields each job with its outcome, in the order of the jobs, whatever the number of workers.

    The outcome is None if the seed's world does not allow the task. Every process makes one `player`, a class
    that the workers can import.
    """
    if workers < 2 or len(jobs) < 2:
        outcomes = map(player(setting).play, tqdm(jobs, "episodes"))
        yield from zip(jobs, outcomes, strict=True)
        return

    # Spawned, because forked processes do not get along with the threads that torch has started.
    context = get_context("spawn")
    start = (setting, player)
    with ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=start) as pool:
        outcomes = pool.map(play_in_worker, jobs, chunksize=2)
        yield from zip(jobs, tqdm(outcomes, "episodes", len(jobs)), strict=True)


def start_worker(setting: Setting, player: Callable[[Setting], Player]) -> None:
    """Runs once in every worker process."""
    # One thread each, because there is a worker for every core.
    torch.set_num_threads(1)
    # A pool passes jobs only, so what a worker keeps between jobs is a global of its process.
    global runner
    runner = player(setting)


def play_in_worker(job: Job) -> tuple | None:
    """Play one job with the player of this process."""
    return runner.play(job)

"""Many episodes over several processes, each of which loads the networks that it needs once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from tqdm import tqdm

from vjepa.sim.closed_loop.episodes import EpisodeRunner, Job, Outcome
from vjepa.sim.closed_loop.setting import Setting


def play_all(jobs: Sequence[Job], setting: Setting, workers: int) -> Iterator[tuple[Job, Outcome | None]]:
    """Play jobs. Yields each job with its outcome, in the order of the jobs, whatever the number of workers.

    The outcome is None if the seed's world does not allow the task.
    """
    if workers < 2 or len(jobs) < 2:
        outcomes = map(EpisodeRunner(setting).play, tqdm(jobs, "episodes"))
        yield from zip(jobs, outcomes, strict=True)
        return

    # Spawned, because forked processes do not get along with the threads that torch has started.
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=start_worker, initargs=(setting,)) as pool:
        outcomes = pool.map(play_in_worker, jobs, chunksize=2)
        yield from zip(jobs, tqdm(outcomes, "episodes", len(jobs)), strict=True)


def start_worker(setting: Setting) -> None:
    """Runs once in every worker process."""
    # One thread each, because there is a worker for every core.
    torch.set_num_threads(1)
    # A pool passes jobs only, so what a worker keeps between jobs is a global of its process.
    global runner
    runner = EpisodeRunner(setting)


def play_in_worker(job: Job) -> Outcome | None:
    """Play one job with the runner of this process."""
    return runner.play(job)

"""How long the last steps took, and how much of that time the run waited for data."""

import time
from collections import deque
from statistics import median
from typing import NamedTuple


class Step(NamedTuple):
    """One optimiser step, in seconds."""

    duration: float
    waited: float


class StepTimer:
    """Times the steps between `restart` and each `tick`; keeps the last `window` of them."""

    def __init__(self, window: int = 50) -> None:
        self.steps: deque[Step] = deque(maxlen=window)

    def restart(self, waited: float) -> None:
        """The next step begins now. waited: seconds that the run has waited for data so far."""
        self.since = time.perf_counter()
        self.waited = waited

    def tick(self, waited: float) -> None:
        """A step has ended, and the next one begins."""
        now = time.perf_counter()
        self.steps.append(Step(now - self.since, waited - self.waited))
        self.since = now
        self.waited = waited

    @property
    def seconds(self) -> float:
        """The usual duration of a step; 0 before the first one has ended."""
        # The median, because a checkpoint or a read-out makes single steps many times as long.
        return median(step.duration for step in self.steps) if self.steps else 0.0

    @property
    def wait_share(self) -> float:
        """Share of the time of the last steps that was spent waiting for data."""
        total = sum(step.duration for step in self.steps)
        return sum(step.waited for step in self.steps) / total if total else 0.0


def clock(seconds: float | int) -> str:
    """Seconds as `0:51`, `12:03`, or `1:02:03` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

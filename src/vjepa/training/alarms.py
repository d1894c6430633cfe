"""The collapse alarm: pretraining says when its features collapse, and where the last good checkpoint is.

Three numbers tell: the effective rank of the targets, how much better the loss is than that of predicting the
mean (1 - loss / loss of the mean), and the read-outs. A healthy run loses some of its rank while it learns,
so each is compared with its best, by medians of the last values.
"""

import math
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning as L

from vjepa.errors import UserError, require
from vjepa.weights.checkpoints import FOLDER, newest_checkpoint


@dataclass(frozen=True)
class AlarmConfig:
    """How much of its best a number may lose until it has collapsed; null for one that is not watched."""

    effective_rank: float | None = 0.7
    """Share of its best that the effective rank of the targets may lose."""
    loss_over_mean: float | None = 0.7
    """Share of its best that 1 - loss / loss of predicting the mean may lose."""
    readout: float | None = 0.7
    """Share of its best that the mean of all read-outs may lose, where the recipe has any."""
    after: int = 100
    """Steps at the beginning that are not judged; their best counts later."""
    window: int = 10
    """Logged values of which the median counts; of the read-outs, which are rare, 3 at most."""
    action: Literal["stop", "warn"] = "stop"
    """What happens: the run ends with an error, or goes on with a warning."""

    def __post_init__(self) -> None:
        for name in ("effective_rank", "loss_over_mean", "readout"):
            share = getattr(self, name)
            sentence = f"alarm.{name}={share} is a share of the best; give a number between 0 and 1, or null"
            require(share is None or 0 < share < 1, sentence)
        require(self.window > 0, f"alarm.window={self.window} must be 1 or more")


LEAST = {"effective_rank": 2.0, "loss_over_mean": 0.3, "readout": 0.1}
"""A best below this is noise, and nothing is compared with it."""


class Alarm:
    """Compares numbers of which more is better with their best so far."""

    def __init__(self, config: AlarmConfig, window: int) -> None:
        self.config = config
        self.window = window
        self.last: dict[str, list[float]] = {}
        self.best: dict[str, tuple[float, int]] = {}  # the median and the step
        self.good_step = 0
        """The last step at which nothing had lost half of what it may lose."""
        self.has_warned = False

    def state_dict(self) -> dict:
        kept = ("last", "best", "good_step", "has_warned")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def observe(self, trainer: L.Trainer, values: Mapping[str, float]) -> None:
        """Judge the values of this step, the same on all processes. Raises UserError for a collapse."""
        step = trainer.global_step
        watched = [name for name in values if getattr(self.config, name) is not None]
        medians = {name: self.median(name, values[name], step) for name in watched}
        used = {name: self.lost(name, median) for name, median in medians.items()}
        worst = max(used, key=used.__getitem__, default=None)
        # The values themselves too, since a median is late.
        if max([*used.values(), *(self.lost(name, values[name]) for name in watched)], default=0.0) < 0.5:
            self.good_step = step
            self.has_warned = False
        elif used[worst] >= 1 and step >= self.config.after and not self.has_warned:
            self.tell(trainer, worst)

    def median(self, name: str, value: float, step: int) -> float | None:
        """The median of the last values, which may be the best so far; None while there are too few."""
        self.last[name] = [*self.last.get(name, []), value][-self.window :]
        if len(self.last[name]) < self.window:
            return None
        median = statistics.median(map(finite, self.last[name]))
        if name not in self.best or median > self.best[name][0]:
            self.best[name] = median, step
        return median

    def lost(self, name: str, value: float | None) -> float:
        """How much of what it may lose of its best a number has lost: 1 is a collapse."""
        best, _ = self.best.get(name, (0.0, 0))
        if value is None or best <= LEAST[name]:
            return 0.0
        return (1 - max(finite(value), 0.0) / best) / getattr(self.config, name)

    def tell(self, trainer: L.Trainer, name: str) -> None:
        """Print the alarm, or raise it, as the recipe says."""
        best, step = self.best[name]
        now = statistics.median(map(finite, self.last[name]))
        fall = f"fell from {best:.3g} at step {step} to {now:.3g}"
        what = f"collapse at step {trainer.global_step}: {WORDS[name]} {fall}"
        good = last_good(trainer, self.good_step)
        if self.config.action == "stop":
            raise UserError(f"{what}; {good}; --model.alarm.action warn goes on all the same")
        self.has_warned = True
        if trainer.is_global_zero:
            print(f"warning: {what}; {good}", file=sys.stderr)


WORDS = {
    "effective_rank": "the effective rank of the targets",
    "loss_over_mean": "the share by which the loss is better than that of predicting the mean",
    "readout": "the mean of the read-outs",
}


def finite(value: float) -> float:
    """The value; 0, a complete loss, for one that is no number."""
    return value if math.isfinite(value) else 0.0


def last_good(trainer: L.Trainer, step: int) -> str:
    """Which checkpoint is not yet collapsed, and what to do with it."""
    found = newest_checkpoint(Path(trainer.default_root_dir) / FOLDER, up_to=step)
    if found is None:
        return (
            f"no checkpoint is as old as the last good step, {step}; start again with a lower model.optim.lr"
        )
    return (
        f"the last good checkpoint is {found}; lower model.optim.lr, and start from it in another --out with "
        f"--model.init_from {found}"
    )


def good_step(trainer: L.Trainer) -> float | int:
    """The last step at which no alarm of the run had reason to doubt; infinite for a run without any."""
    alarms = [getattr(callback, "alarm", None) for callback in trainer.callbacks]
    return min((alarm.good_step for alarm in alarms if isinstance(alarm, Alarm)), default=math.inf)

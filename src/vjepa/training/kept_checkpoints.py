"""Which checkpoints a run keeps: the newest two, the best, and the last good one.

`checkpoint.save_top_k` and `checkpoint.monitor` are those of Lightning, and choose the best. The newest two
stay in any case: should one be damaged, the run continues from the other.
"""

import os
from copy import deepcopy
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from vjepa.errors import UserError
from vjepa.training.alarms import good_step
from vjepa.training.checkpoint_files import CheckpointFiles
from vjepa.weights.files import as_checkpoint_error
from vjepa.weights.pickles import read_pickle

NEWEST = 2
"""How many of the newest checkpoints stay, whatever the recipe says."""


class KeptCheckpoints(ModelCheckpoint):
    """Lightning's ModelCheckpoint, which also keeps the newest; a save that failed does not count."""

    written: tuple[tuple[int, str], ...] = ()
    """Step and name, below the folder, of every checkpoint that the run has written and not removed."""

    @property
    def state_key(self) -> str:
        # As before this class was there, so that earlier runs continue.
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def state_dict(self) -> dict:
        return super().state_dict() | {"written": self.written}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(moved(state, self.dirpath))
        self.written = state.get("written", ())

    def _save_topk_checkpoint(self, trainer: L.Trainer, monitor_candidates: dict[str, Tensor]) -> None:
        before = deepcopy(super().state_dict())
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        if self.save_top_k and self._last_global_step_saved != trainer.global_step:
            # None of the best. Under a name of its own, since that of the recipe may be the best one's.
            self._save_checkpoint(trainer, str(Path(self.dirpath) / f"step={trainer.global_step}.ckpt"))
        if failure(trainer):
            super().load_state_dict(before)
        else:
            self.remove_others(trainer)

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        before = self.written, self._last_checkpoint_saved
        if filepath != self.last_model_path:  # a copy of the newest, which Lightning replaces itself
            self.add(trainer, Path(filepath))
        super()._save_checkpoint(trainer, filepath)
        if failure(trainer):
            self.written, self._last_checkpoint_saved = before

    def _remove_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        """Only what this class does not decide about."""
        if relative(filepath, self.dirpath) not in [name for _, name in self.written]:
            super()._remove_checkpoint(trainer, filepath)

    def add(self, trainer: L.Trainer, file: Path) -> None:
        """Count a file that is about to be written, so that it knows of itself."""
        name = relative(file, self.dirpath)
        others = [entry for entry in self.written if entry[1] != name]
        self.written = (*others, (trainer.global_step, name))

    def remove_others(self, trainer: L.Trainer) -> None:
        """Remove what is neither new, nor among the best, nor the last good one."""
        if self.save_top_k == -1:
            return
        good = [entry for entry in self.written if entry[0] <= good_step(trainer)]
        best = {relative(file, self.dirpath) for file in self.best_k_models}
        kept = {*self.written[-NEWEST:], *good[-1:], *(entry for entry in self.written if entry[1] in best)}
        for entry in self.written:
            if entry not in kept:
                super()._remove_checkpoint(trainer, str(Path(self.dirpath) / entry[1]))
        self.written = tuple(entry for entry in self.written if entry in kept)


def moved(state: dict, folder: str) -> dict:
    """The state of a ModelCheckpoint with its files in another folder, which Lightning would forget."""

    def here(file: str) -> str:
        return str(Path(folder) / os.path.relpath(file, state["dirpath"])) if file else file

    paths = {
        name: here(state[name]) for name in ("best_model_path", "kth_best_model_path", "last_model_path")
    }
    best = {here(file): score for file, score in state["best_k_models"].items()}
    return state | paths | {"dirpath": folder, "best_k_models": best}


@as_checkpoint_error
def best_names(checkpoint: Path) -> list[tuple[str, str]]:
    """Each `checkpoint.monitor` of a run, and the name of the best file by it, as a checkpoint says.

    The name is relative to the folder of checkpoints, since a run may have been moved.
    """
    states = read_pickle(checkpoint)["callbacks"].items()
    watching = [state for key, state in states if key.startswith("ModelCheckpoint") and state["monitor"]]
    return [(s["monitor"], os.path.relpath(s["best_model_path"] or ".", s["dirpath"])) for s in watching]


def save_now(trainer: L.Trainer, file: Path) -> None:
    """Save at the end of a run, or where it is stopped: no later save would make up for this one.

    Raises UserError on all processes if the file cannot be written.
    """
    files = trainer.strategy.checkpoint_io
    ours = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, KeptCheckpoints)]
    for callback in ours:
        callback.add(trainer, file)
    files.tries_again = False
    trainer.save_checkpoint(file, weights_only=False)
    files.tries_again = True
    if reason := failure(trainer):
        raise UserError(f"{reason}; once this is mended, the same command continues from the newest of them")
    for callback in ours:
        callback.remove_others(trainer)


def failure(trainer: L.Trainer) -> str | None:
    """Why the last save failed, the same on all processes; None if it did not."""
    files = trainer.strategy.checkpoint_io
    return trainer.strategy.broadcast(files.failure if isinstance(files, CheckpointFiles) else None)


def relative(file: str | Path, folder: str | Path) -> str:
    """The name of a file below a folder."""
    return os.path.relpath(os.path.realpath(file), os.path.realpath(folder))

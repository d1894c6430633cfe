"""What a run will take, said before it and after its first steps: sizes, disk, time, memory.

Before the first step:

    0.2M parameters are trained, a clip is 256 tokens; checkpoints take 4.2 MB of 80 GB of free disk

After a few steps, measured on them:

    about 4 min on this machine, 0.12 s a step, validation and what follows not counted; 1.1 GB of memory

Nothing here draws a random number or changes a weight.
"""

import math
import os
import resource
import shutil
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from vjepa.errors import UserError, require
from vjepa.training.kept_checkpoints import NEWEST
from vjepa.training.monitors import completes_step
from vjepa.training.step_timer import StepTimer
from vjepa.weights.card import parameters_text
from vjepa.weights.checkpoints import FOLDER

WARM_UP = 3
"""Steps that are not timed: the first ones start data workers and choose kernels."""
TIMED = 8
"""Steps whose time is measured."""
FULL = 0.9
"""Share of a memory from which a run is warned."""


class Forecast(L.Callback):
    """Says what the run will take. Raises UserError if the disk cannot hold its checkpoints."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_train_start(self, trainer, stage) -> None:
        self.timer = StepTimer(TIMED)
        self.first = trainer.global_step
        size = checkpoint_bytes(stage)
        kept = checkpoints_kept(trainer)
        free = shutil.disk_usage(self.out).free
        # Another one is written before the oldest is deleted, and the export holds the weights once more.
        check_disk(self.out, (kept + 2) * size - bytes_in(self.out / FOLDER), free)
        trained = sum(p.numel() for p in stage.parameters() if p.requires_grad)
        tokens = tokens_per_clip(stage, trainer.datamodule)
        clip = f", a clip is {tokens} tokens" if tokens else ""
        disk = f"checkpoints take {size_text(kept * size)} of {size_text(free)} of free disk"
        stage.print(f"{parameters_text(trained)} parameters are trained{clip}; {disk}")

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if not completes_step(trainer, batch_idx):
            return
        done = trainer.global_step - self.first
        if done > WARM_UP + TIMED:
            return
        waited = trainer.train_dataloader.waited
        if done in (WARM_UP, WARM_UP + TIMED) and stage.device.type == "cuda":
            torch.cuda.synchronize()  # a GPU works behind the program, which alone is timed here
        if done == WARM_UP:
            self.timer.restart(waited)
        elif done > WARM_UP:
            self.timer.tick(waited)
        if done == WARM_UP + TIMED:
            self.say_time(trainer, stage)

    def say_time(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        """Print time and memory, as the first steps had them."""
        left = trainer.estimated_stepping_batches - trainer.global_step
        step = sum(step.duration for step in self.timer.steps) / len(self.timer.steps)
        used, whole, where = memory(stage.device)
        # Cached tokens are computed when a frame is first met, so the first steps are the slow ones.
        about = "at most" if caches_tokens(trainer.datamodule) else "about"
        whole_run = f"{about} {duration(left * step)} on this machine, " if math.isfinite(left) else ""
        steps_alone = f"{whole_run}{step:.2g} s a step, validation and what follows not counted"
        stage.print(f"{steps_alone}; {size_text(used)} of {where}")
        if used > FULL * whole:
            stage.print(
                f"warning: that is more than {FULL:.0%} of the {size_text(whole)} there are; "
                "lower data.batch_size, or set model.activation_checkpointing"
            )


def checkpoint_bytes(stage: L.LightningModule) -> int:
    """Size of a checkpoint: the weights that the stage saves, and AdamW's two moments of the trained ones."""
    checkpoint = {"state_dict": stage.state_dict()}
    stage.on_save_checkpoint(checkpoint)  # leaves out frozen networks
    moments = 2 * sum(nbytes(p) for p in stage.parameters() if p.requires_grad)
    return moments + sum(nbytes(value) for value in checkpoint["state_dict"].values())


def nbytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def checkpoints_kept(trainer: L.Trainer) -> int:
    """How many checkpoints lie in the folder at the end of the run."""
    steps = trainer.estimated_stepping_batches
    kept = 0
    for callback in trainer.checkpoint_callbacks:
        every = callback._every_n_train_steps if isinstance(callback, ModelCheckpoint) else 0
        if every and math.isfinite(steps):
            written = int(steps // every)
            best = callback.save_top_k if callback.monitor else 0
            most = {-1: written, 0: 0}.get(callback.save_top_k, NEWEST + best)
            kept += min(written, most)
            kept += int(steps % every > 0)  # the stage keeps its last step too
    return max(kept, 1)


def bytes_in(folder: Path) -> int:
    """Bytes that the files of a folder take; 0 if there is none."""
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())


def check_disk(out: Path, need: int, free: int) -> None:
    """Raise UserError if the checkpoints and the export cannot be written."""
    require(
        free > need,
        f"{out}: checkpoints and export need {size_text(need)} more, but {size_text(free)} of disk are free; "
        "free some, choose another --out, or lower checkpoint.save_top_k",
    )


def tokens_per_clip(stage: L.LightningModule, data: L.LightningDataModule) -> int | None:
    """Tokens that the encoder makes of one training clip; None if the data have no clips of one size."""
    if window := getattr(data, "window", None):  # each frame of a robot's window is encoded alone
        return window.frames * math.prod(stage.encoder.grid_of_size(1, window.size, window.size))
    clip = data.clip
    try:
        return math.prod(stage.encoder.grid_of_size(clip.frames, clip.size, clip.size))
    except UserError:  # the stage trains on other lengths, whose frames are repeated to fill a tubelet
        return None


def caches_tokens(data: L.LightningDataModule) -> bool:
    """Whether the frames of robot episodes are encoded once and then read from a cache."""
    window = getattr(data, "window", None)
    return window is not None and not window.pixels


def memory(device: torch.device) -> tuple[int, int, str]:
    """Bytes in use at most so far, bytes there are, and of which memory."""
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        return torch.cuda.max_memory_reserved(device), whole, "GPU memory"
    # Linux counts in kilobytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return peak, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "memory, data workers not counted"


def size_text(size: float | int) -> str:
    """Bytes as 4.2 MB, 12 MB, 1.1 GB or 80 GB."""
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB")
    value = size / unit
    return f"{value:.1f} {name}" if value < 10 else f"{value:.0f} {name}"


def duration(seconds: float | int) -> str:
    """Seconds as 40 s, 4 min, 2.5 hours or 3.1 days; at least 1 s."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"

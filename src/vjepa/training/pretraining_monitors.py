"""Monitors of pretraining in TensorBoard: loss and collapse, read-outs, loss by distance in time.

A recipe names them under `trainer.callbacks`:

    - {class_path: vjepa.training.pretraining_monitors.CollapseMonitor}
"""

from statistics import mean

import lightning as L
import torch
from jaxtyping import Int
from torch import Tensor

from vjepa.data.clips import ClipConfig
from vjepa.data.means import Means
from vjepa.drawing.event_writers import event_writers
from vjepa.evaluation import collapse
from vjepa.evaluation.labelled_clips import read_labelled_clips
from vjepa.evaluation.readouts import ReadOutConfig, encode, read_out
from vjepa.models.grid import Grid
from vjepa.objectives import ema
from vjepa.objectives.masks import View
from vjepa.training.alarms import Alarm, AlarmConfig
from vjepa.training.monitors import completes_logged_step, mean_over_devices, write
from vjepa.training.pretraining_outputs import Outputs
from vjepa.training.projector import clip_vectors, show_in_projector
from vjepa.training.sharded import whole

RARE = 3
"""Read-outs of which the median counts for the alarm, since a run has few of them."""


class CollapseMonitor(L.Callback):
    """Logs whether the target encoder's features still differ between tokens, from the first step on.

    The loss is that of the whole optimiser step. The other numbers are of its last batch on each device,
    averaged over devices. Raises UserError where the alarm goes off.
    """

    def __init__(self, alarm: AlarmConfig = AlarmConfig()) -> None:
        """
        Args:
            alarm: When features count as collapsed.
        """
        self.loss = 0.0  # of the step's batches so far, added up
        self.alarm = Alarm(alarm, alarm.window)

    def state_dict(self) -> dict:
        return {"alarm": self.alarm.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.alarm.load_state_dict(state["alarm"])

    def on_train_batch_end(self, trainer, stage, outputs: Outputs, batch, batch_idx) -> None:
        batches = trainer.accumulate_grad_batches
        self.loss = outputs["l1"] / batches + (0.0 if batch_idx % batches == 0 else self.loss)
        if not completes_logged_step(trainer, batch_idx):
            return
        targets = stage.predictor.last_level(outputs["targets"])
        # The loss alone shows no collapse: constant features are easy to predict.
        values = {
            "train/loss": self.loss,
            "collapse/feature_std": collapse.feature_std(targets),
            "collapse/effective_rank": collapse.effective_rank(targets),
            "collapse/token_cosine": collapse.token_cosine(targets),
            "collapse/loss_over_mean": outputs["l1"] / collapse.mean_baseline(outputs["targets"]),
            "optim/ema_momentum": stage.momentum_at(trainer.global_step),
            "collapse/target_weights_rms": ema.distance(stage.target, stage.encoder),
        }
        # Which of them there are is the same on all devices.
        others = {"train/loss_context": "context_l1", "train/loss_images": "images_l1"}
        others |= {"collapse/target_context_l1": "context_gap"}
        values |= {name: outputs[key] for name, key in others.items() if key in outputs}
        means = mean_over_devices(trainer, values)
        write(trainer, means, trainer.global_step)
        gained = 1 - means["collapse/loss_over_mean"]
        watched = {"effective_rank": means["collapse/effective_rank"], "loss_over_mean": gained}
        self.alarm.observe(trainer, watched)


class ReadOutMonitor(L.Callback):
    """Logs read-outs of the target encoder while it trains, from step 0 (a random encoder) on."""

    def __init__(
        self,
        train: str,
        val: str,
        clip: ClipConfig,
        every: int = 100,
        limit: int = 400,
        readout: ReadOutConfig = ReadOutConfig(),
    ) -> None:
        """
        Args:
            train: Labelled manifest to fit the read-outs on.
            val: Labelled manifest to score them on.
            clip: What one clip is.
            every: Steps between two read-outs.
            limit: Most clips of either manifest that are used, evenly spread.
            readout: What is read, and how.
        """
        self.train = train
        self.val = val
        self.clip = clip
        self.every = every
        self.limit = limit
        self.readout = readout
        self.first: dict[str, float] = {}  # of the untrained encoder
        self.last: dict[str, float] = {}

    def setup(self, trainer, pl_module, stage: str) -> None:  # these names are Lightning's
        config = pl_module.alarm
        self.alarm = Alarm(config, min(config.window, RARE))

    def state_dict(self) -> dict[str, dict]:
        # A resumed run has no untrained encoder any more, and says at its end what it was worth.
        return {"first": self.first, "alarm": self.alarm.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        self.first = state["first"]
        self.alarm.load_state_dict(state.get("alarm", {}))

    def on_fit_start(self, trainer, stage) -> None:
        columns = (*self.readout.classes, *self.readout.numbers)
        self.fitted = read_labelled_clips(self.train, self.clip, self.limit, columns)
        self.scored = read_labelled_clips(self.val, self.clip, self.limit, columns)

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        # Before the step, so that the first read-out is of the untrained encoder.
        first_of_step = batch_idx % trainer.accumulate_grad_batches == 0
        if first_of_step and trainer.global_step % self.every == 0:
            self.read(trainer, stage)

    def on_train_end(self, trainer, stage) -> None:
        self.read(trainer, stage)
        with whole(stage.target):
            vectors = (
                clip_vectors(encode(stage.target, self.scored.clips)) if event_writers(trainer) else None
            )
        if vectors is not None:
            show_in_projector(trainer, vectors, self.scored.clips, self.scored.columns)

    def read(self, trainer: L.Trainer, stage: L.LightningModule) -> None:
        # All processes hold the same target encoder, so one of them is enough.
        with whole(stage.target):
            if trainer.is_global_zero:
                self.last = read_out(stage.target, self.fitted, self.scored, self.readout)
        if trainer.is_global_zero:
            if trainer.global_step == 0:
                self.first = self.last
            write(
                trainer, {f"readout/{name}": value for name, value in self.last.items()}, trainer.global_step
            )
        self.last = trainer.strategy.broadcast(self.last)
        # An explained variance below 0 is no worse than one of 0, however far below it lies.
        self.alarm.observe(trainer, {"readout": mean(max(value, 0.0) for value in self.last.values())})


class LossByDistance(L.Callback):
    """Validation loss by the number of time steps between a predicted token and the nearest kept one.

    At distance 0 the encoder saw something of the same moment, so the token is filled in. At a larger
    distance it is predicted from other moments.
    """

    def on_validation_start(self, trainer, stage) -> None:
        clip = trainer.datamodule.clip
        steps, _, _ = stage.encoder.grid_of_size(clip.frames, clip.size, clip.size)
        # All distances, also for a device that sees no clip.
        self.means = Means(map(distance_name, range(steps)))

    def on_validation_batch_end(self, trainer, stage, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        if outputs is None:  # no clip of the batch could be decoded
            return
        for prediction in outputs["predictions"]:
            # Batches differ in the number of tokens at a distance, so they are weighted by it.
            distances = time_distance(prediction.view, outputs["grid"])
            for distance in distances.unique().tolist():
                errors = prediction.errors[distances == distance]
                self.means.add({distance_name(distance): errors.mean()}, errors.numel())

    def on_validation_end(self, trainer, stage) -> None:
        means = self.means.compute(trainer.strategy)
        if not trainer.sanity_checking:
            write(trainer, means, trainer.global_step)


def distance_name(distance: int) -> str:
    """Its curve in TensorBoard."""
    return f"val/loss_{distance}_steps_from_kept"


def time_distance(view: View, grid: Grid) -> Int[Tensor, "b m"]:
    """Time steps between each dropped token and the nearest moment of which its clip keeps any token."""
    T, H, W = grid
    times = torch.arange(T, device=view.keep.device)
    keeps = ((view.keep // (H * W))[..., None] == times).any(dim=1)  # b T: whether a moment keeps a token

    between = (times[:, None] - times).abs().float()
    nearest = between.masked_fill(~keeps[:, None], torch.inf).amin(dim=-1)  # b T
    return nearest.long().gather(1, view.drop // (H * W))

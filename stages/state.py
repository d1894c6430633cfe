"""A reader of the arm's state on the frozen encoder: where the hand is, and whether the gripper closes.

    python -m stages.state fit --config conf/state.yaml

Not a stage of the paper. The planner adds to its energy what it reads in the pictures of now and of the goal
(`vjepa.planning.reading_world`). Its labels are the states that every robot logs, and the camera's pose.
"""

from dataclasses import asdict

import torch
from torch import Tensor

from vjepa.data.means import Means
from vjepa.models.state_reader import StateReaderConfig
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.training.state_reading import StateReading
from vjepa.training.trajectory_settings import acting_facts
from vjepa.weights.export import Part, state_reader_part
from vjepa.weights.load import Weights


class ReadState(FrozenStage):
    def __init__(
        self,
        encoder: str,
        reader: StateReaderConfig = StateReaderConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(2e-3)),
        latents: LatentsConfig = LatentsConfig(),
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            reader: The heads that are trained.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            latents: Where tokens are kept.
            seed: Decides the heads' initial weights.
        """
        super().__init__(encoder, weights, optim, seed)
        self.config = reader
        self.latents = latents
        self.val_means = Means(("val/centimetres", "val/gripper_wrong", "val/always_centimetres"))

    def training_step(self, batch: TrajectoryBatch, batch_idx: int) -> Tensor:
        losses = self.reading.losses(batch, self.tokens(batch, "train"), "train")
        means = {f"train/{name}": value for name, value in losses._asdict().items()}
        self.step_means.add(means, len(batch.actions))
        return losses.place + losses.closing

    def validation_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        if len(batch.actions):  # some window of the batch could be decoded
            errors = self.reading.errors(batch, self.tokens(batch, "val"), "val")
            self.val_means.add({f"val/{name}": value for name, value in errors.items()}, len(batch.actions))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_means.compute(self.trainer.strategy), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.reading.reader)

    def build(self) -> None:
        data = self.trainer.datamodule
        self.tokens = FrameTokens(self.encoder, data, self.latents)
        self.reading = StateReading(self.encoder, data, self.latents, self.config)
        if self.trainer.training:  # a checkpoint holds the scale of its readings
            self.reading.standardise()

    def parts(self) -> dict[str, Part]:
        view = asdict(self.trainer.datamodule.window.hand)
        return {"state_reader": state_reader_part(self.reading.reader, view, acting_facts(self))}


if __name__ == "__main__":
    run(ReadState, TrajectoryData)

"""Action-conditioned post-training: predict the tokens of the next frame (V-JEPA 2, sections 3.1 and B.1).

    python -m stages.ac fit --config conf/ac.yaml

Frames are encoded one by one. With `data.window.pixels: false` each is encoded once, and its tokens are kept
on disk. Held-out episodes give the error at every horizon, beside controls that do not know the actions
(`vjepa.evaluation.rollout_error`), and whether actions are used (`vjepa.evaluation.action_use`).
"""

from pathlib import Path

import torch
from torch import Tensor

from vjepa.drawing.event_writers import event_writers
from vjepa.errors import DataError
from vjepa.evaluation.action_use import use_report
from vjepa.evaluation.rollout_means import HeldOutErrors, RolloutMeans, is_curve
from vjepa.evaluation.rollout_report import show_report, write_report
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.objectives.action_conditioned import ObjectiveConfig, action_conditioned_losses
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.training.trajectory_settings import (
    acting_facts,
    camera_poses,
    check_ac_predictor,
    example_values,
)
from vjepa.weights.export import Part, ac_predictor_part
from vjepa.weights.load import Weights


class ActionConditioned(FrozenStage):
    def __init__(
        self,
        encoder: str,
        predictor: ACPredictorConfig = ACPredictorConfig(),
        objective: ObjectiveConfig = ObjectiveConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(4.25e-4)),
        latents: LatentsConfig = LatentsConfig(),
        standardise: bool = False,
        scales: tuple[int, ...] = (1,),
        activation_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            predictor: The network that is trained.
            objective: The loss of its rollouts, beside teacher forcing.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            latents: Where tokens are kept, with `data.window.pixels: false`.
            standardise: Scale the initial maps of actions and states by the data. The paper does not do this.
            scales: Squares of tokens by which a planner is to compare frames (`WorldModelConfig.scales`).
            activation_checkpointing: Recompute the blocks in the backward pass: less memory, more work.
            seed: Decides the predictor's initial weights.
        """
        super().__init__(encoder, weights, optim, seed)
        self.config = predictor
        self.objective = objective
        self.latents = latents
        self.standardise = standardise
        self.scales = scales
        self.activation_checkpointing = activation_checkpointing
        self.held_out: HeldOutErrors | None = None  # of the last validation, or of the test

    def on_train_start(self) -> None:
        self.held_out = None  # Lightning's sanity check has measured an untrained predictor

    def training_step(self, batch: TrajectoryBatch, batch_idx: int) -> Tensor:
        """Equation 4."""
        tokens = self.tokens(batch, "train")
        camera = camera_poses(batch, self.config)
        losses = action_conditioned_losses(
            self.predictor, tokens, batch.actions, batch.states, self.objective, camera
        )
        means = {f"train/{name}": value for name, value in losses._asdict().items()}
        self.step_means.add(means, len(batch.actions))
        return losses.loss

    def validation_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        self.score("val", batch)

    def test_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        self.score("test", batch)

    def score(self, split: str, batch: TrajectoryBatch) -> None:
        """Keep the errors of held-out windows, by row and horizon."""
        if len(batch.actions):  # some window of the batch could be decoded
            tokens = self.tokens(batch, split)
            self.errors.add(self.predictor, tokens, batch, camera_poses(batch, self.config))

    def log_errors(self, split: str) -> None:
        """Log the means over all processes, and keep them for the report and the export."""
        self.held_out = self.errors.compute(self.trainer.strategy)
        for name, mean in self.held_out.metrics().items():
            self.log(f"{split}/{name}", mean, logger=is_curve(name, self.horizons), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        self.log_errors("val")

    def on_test_epoch_end(self) -> None:
        self.log_errors("test")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.predictor)

    def build(self) -> None:
        data = self.trainer.datamodule
        self.predictor = ACPredictor(self.config, self.encoder.config)
        self.predictor.activation_checkpointing = self.activation_checkpointing
        self.tokens = FrameTokens(self.encoder, data, self.latents)
        check_ac_predictor(self.predictor, self.objective, data, self.tokens.grid)
        self.horizons = data.window.evaluated_frames - 1
        self.errors = RolloutMeans(self.horizons, data.schema)
        if self.standardise and self.trainer.training:  # a test takes the maps from its checkpoint
            self.predictor.standardise(*example_values(data))

    def on_validation_end(self) -> None:
        if self.held_out.windows:
            show_report(event_writers(self.trainer), "val", self.held_out, self.global_step)

    def on_fit_end(self) -> None:
        """Say it after the last validation, where no test follows."""
        if self.trainer.datamodule.test is None and self.held_out and self.trainer.is_global_zero:
            print(use_report(self.held_out.use, self.held_out.grippers))

    def on_test_end(self) -> None:
        if not self.held_out.windows:
            raise DataError("no test window could be decoded, so there is no error; bad_files.txt says why")
        show_report(event_writers(self.trainer), "test", self.held_out, self.global_step)
        if self.trainer.is_global_zero:
            write_report(self.held_out, Path(self.trainer.default_root_dir))

    def parts(self) -> dict[str, Part]:
        acting = acting_facts(self, self.scales, self.held_out and self.held_out.exported())
        return {"ac_predictor": ac_predictor_part(self.predictor, self.encoder.config, acting)}


if __name__ == "__main__":
    run(ActionConditioned, TrajectoryData)

"""Action-conditioned post-training: predict the tokens of the next frame (V-JEPA 2, sections 3.1 and B.1).

    python -m stages.ac fit --config conf/ac.yaml

Frames are encoded one by one. With `data.window.pixels: false` each is encoded once, and its tokens are kept
on disk. Held-out episodes give the error at every horizon, beside controls that do not know the actions
(`vjepa.evaluation.rollout_error`).
"""

from pathlib import Path

import torch
from torch import Tensor

from vjepa.data.means import Means
from vjepa.drawing.event_writers import event_writers
from vjepa.errors import DataError
from vjepa.evaluation.rollout_error import rollout_errors
from vjepa.evaluation.rollout_figure import error_figure
from vjepa.evaluation.rollout_report import curves_of, error_names, is_curve, mean_errors, write_report
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
            schema = self.trainer.datamodule.schema
            camera = camera_poses(batch, self.config)
            errors = rollout_errors(self.predictor, tokens, batch.actions, batch.states, schema, camera)
            self.errors.add(mean_errors(errors), len(batch.actions))

    def log_errors(self, split: str) -> None:
        """Log their means over all processes, which `curves` then finds in `callback_metrics`."""
        for name, mean in self.errors.compute(self.trainer.strategy).items():
            self.log(f"{split}/{name}", mean, logger=is_curve(name, self.horizons), sync_dist=True)
        self.log(f"{split}/windows", self.errors.count, logger=False, sync_dist=True)

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
        self.errors = Means(error_names(self.horizons))
        if self.standardise and self.trainer.training:  # a test takes the maps from its checkpoint
            self.predictor.standardise(*example_values(data))

    def curves(self, split: str) -> dict[str, list[float]]:
        """The mean error at every horizon, for each row of the table, over all processes."""
        return curves_of(self.trainer.callback_metrics, split, self.horizons)

    def on_validation_end(self) -> None:
        measured = self.trainer.callback_metrics["val/windows"] > 0
        for writer in event_writers(self.trainer) if measured else []:
            figure = error_figure(self.curves("val"), f"step {self.global_step}")
            writer.add_figure("val/error_by_horizon", figure, self.global_step)

    def on_test_end(self) -> None:
        windows = int(self.trainer.callback_metrics["test/windows"])
        if not windows:
            raise DataError("no test window could be decoded, so there is no error; bad_files.txt says why")
        if self.trainer.is_global_zero:
            write_report(self.curves("test"), windows, Path(self.trainer.default_root_dir))

    def parts(self) -> dict[str, Part]:
        acting = acting_facts(self, self.scales)
        return {"ac_predictor": ac_predictor_part(self.predictor, self.encoder.config, acting)}


if __name__ == "__main__":
    run(ActionConditioned, TrajectoryData)

"""Action-conditioned post-training: what do actions do to the frozen encoder's tokens? (V-JEPA 2, sections 3.1 and B.1)

    python -m stages.ac fit --config conf/ac.yaml

Frames are encoded one by one. With `data.window.pixels: false` that happens once in a run's life: tokens are then kept on disk.
Held-out episodes show the error at every horizon beside controls that do not know the actions (`vjepa.evaluation.rollout_error`).
"""

import json
from dataclasses import asdict, replace
from math import nan
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import DataError, UserError
from vjepa.evaluation import rollout_error
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.frozen import freeze
from vjepa.objectives.action_conditioned import ObjectiveConfig, action_conditioned
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.module import TrajectoryData
from vjepa.robots.windows import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens, check_equal
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.weights.export import Part, ac_predictor_part
from vjepa.weights.load import Weights, load_encoder

EXAMPLES = 256
"""Windows that say how large actions and states are."""


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
        activation_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory.
            predictor: The network that is trained.
            objective: What its rollouts minimise, beside teacher forcing.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            latents: Where tokens are kept, with `data.window.pixels: false`.
            standardise: Scale the initial maps of actions and states by what the data's first windows hold. The paper does not.
            activation_checkpointing: Recompute the predictor's blocks in the backward pass: less memory, more work.
            seed: Decides the predictor's initial weights.
        """
        super().__init__()
        self.source, self.config, self.objective, self.weights = encoder, predictor, objective, weights
        self.optim, self.latents, self.standardise = optim, latents, standardise
        self.activation_checkpointing, self.seed = activation_checkpointing, seed

    def configure_model(self) -> None:
        if hasattr(self, "predictor"):
            return
        self.encoder = freeze(load_encoder(self.source, self.weights))
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.predictor = ACPredictor(self.config, self.encoder.config)
        self.predictor.activation_checkpointing = self.activation_checkpointing
        self.tokens = FrameTokens(self.encoder, self.trainer.datamodule, self.latents)
        self.check_settings(self.trainer.datamodule)
        if self.standardise and self.trainer.training:
            self.predictor.standardise(*examples(self.trainer.datamodule))

    def check_settings(self, data: TrajectoryData) -> None:
        """Settings that only the first step would refuse, tried on nothing."""
        check_equal("model.predictor.state_dim", self.config.state_dim, "states", data.schema.state_dims)
        check_equal("model.predictor.action_dim", self.config.action_dim, "actions", data.schema.action_dims)
        steps = data.window.frames - 1
        if self.objective.rollout_steps > steps:
            raise UserError(f"model.objective.rollout_steps={self.objective.rollout_steps}, but a window has {steps} actions; "
                          "raise data.window.frames")  # fmt: skip
        if data.held_out and data.batch_size < 2:
            raise UserError(
                "data.batch_size=1, but shuffled actions are those of another window of the batch; give 2 or more"
            )
        H, W = self.tokens.grid
        try:
            self.predictor.check_fit(H * W, 1, torch.empty(0) if self.config.extrinsics_dim else None)
        except UserError as error:
            raise UserError(f"data.window.size={data.window.size}: {error}") from error

    def extrinsics(self, batch: TrajectoryBatch) -> Float[Tensor, "b t e"] | None:
        """The camera's pose, for a predictor that takes it."""
        wanted, given = self.config.extrinsics_dim, batch.extrinsics.shape[-1]
        if wanted and wanted != given:
            raise UserError(f"model.predictor.extrinsics_dim={wanted}, but the data have {given} numbers; name their column "
                          "in columns.extrinsics")  # fmt: skip
        return batch.extrinsics if wanted else None

    def training_step(self, batch: TrajectoryBatch, batch_idx: int) -> Tensor:
        """Equation 4."""
        tokens, camera = self.tokens(batch, "train"), self.extrinsics(batch)
        losses = action_conditioned(
            self.predictor, tokens, batch.actions, batch.states, self.objective, camera
        )
        self.log_dict({f"train/{name}": value.detach() for name, value in losses._asdict().items()})
        return losses.loss

    def validation_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        self.score("val", batch)

    def test_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        self.score("test", batch)

    def score(self, split: str, batch: TrajectoryBatch) -> None:
        """Errors of held-out windows, by row and horizon."""
        if len(batch.actions) == 0:
            return
        tokens, schema = self.tokens(batch, split), self.trainer.datamodule.schema
        found = rollout_error.errors(
            self.predictor, tokens, batch.actions, batch.states, schema, self.extrinsics(batch)
        )
        told = {row: error.mean(dim=0) for row, error in found.items() if len(error)}
        means = {
            f"{split}/{row}_{k}": value for row, error in told.items() for k, value in enumerate(error, 1)
        }
        self.log_dict(means, batch_size=len(batch.actions), on_step=False, on_epoch=True, sync_dist=True)
        self.log(
            f"{split}/windows",
            float(len(batch.actions)),
            on_step=False,
            on_epoch=True,
            reduce_fx="sum",
            sync_dist=True,
        )

    def curves(self, split: str) -> dict[str, list[float]]:
        """What was logged: for every row its error after 1, 2, ... actions; NaN if there was nothing to shuffle."""
        metrics, steps = (
            self.trainer.callback_metrics,
            range(1, self.trainer.datamodule.window.evaluated_frames),
        )
        return {
            row: [float(metrics.get(f"{split}/{row}_{k}", nan)) for k in steps] for row in rollout_error.ROWS
        }

    def on_validation_end(self) -> None:
        if (
            self.trainer.is_global_zero
            and self.trainer.loggers
            and "val/windows" in self.trainer.callback_metrics
        ):
            picture = rollout_error.figure(self.curves("val"), f"step {self.global_step}")
            self.trainer.logger.experiment.add_figure("val/error_by_horizon", picture, self.global_step)

    def on_test_end(self) -> None:
        if "test/windows" not in self.trainer.callback_metrics:
            raise DataError(
                "no test window could be decoded, so there is no error to report; bad_files.txt says why"
            )
        if self.trainer.is_global_zero:
            curves, out = self.curves("test"), Path(self.trainer.default_root_dir)
            windows = int(self.trainer.callback_metrics["test/windows"])
            (out / "horizons.json").write_text(json.dumps({"windows": windows, "errors": curves}, indent=1))
            rollout_error.save(curves, f"{windows} held-out windows", out / "horizons.png")
            print(rollout_error.table(curves, windows))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.predictor)

    def parts(self) -> dict[str, Part]:
        """The predictor, and what its states and actions mean."""
        data = self.trainer.datamodule
        return {
            "ac_predictor": ac_predictor_part(
                self.predictor, self.encoder.config, asdict(data.schema), data.window.size
            )
        }


def examples(data: TrajectoryData) -> tuple[Float[Tensor, "n a"], Float[Tensor, "m s"]]:
    """Actions and states of the first training windows."""
    windows = data.training_windows(replace(data.window, pixels=False))
    drawn = [windows[k] for k in range(EXAMPLES)]
    return torch.cat([one.actions for one in drawn]), torch.cat([one.states for one in drawn])


if __name__ == "__main__":
    run(ActionConditioned, TrajectoryData)

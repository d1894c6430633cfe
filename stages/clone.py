"""Goal-conditioned behaviour cloning: the baseline without a world model (V-JEPA 2, section 4.1: Octo).

    python -m stages.clone fit --config conf/clone.yaml

The policy is shown a frame of a window and the window's last frame, its goal, and learns the recorded action.
Every frame but the last is an example.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import l1_loss

from vjepa.data.means import Means
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.training.trajectory_settings import acting_facts, check_policy
from vjepa.weights.export import Part, policy_part
from vjepa.weights.load import Weights


class Clone(FrozenStage):
    def __init__(
        self,
        encoder: str,
        policy: ClonedPolicyConfig = ClonedPolicyConfig(),
        weights: Weights = "ema",
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),
        latents: LatentsConfig = LatentsConfig(),
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            policy: The network that is trained.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            latents: Where tokens are kept, with `data.window.pixels: false`.
            seed: Decides the policy's initial weights.
        """
        super().__init__(encoder, weights, optim, seed)
        self.config = policy
        self.latents = latents
        self.val_means = Means(("val/loss", "val/no_motion"))

    def training_step(self, batch: TrajectoryBatch, batch_idx: int) -> Tensor:
        loss = self.error(batch, "train")
        self.step_means.add({"train/loss": loss}, len(batch.actions))
        return loss

    def validation_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        if len(batch.actions):  # some window of the batch could be decoded
            # Beside the error of a policy that never moves.
            no_motion = (batch.actions / self.unit).abs().mean()
            errors = {"val/loss": self.error(batch, "val"), "val/no_motion": no_motion}
            self.val_means.add(errors, len(batch.actions))

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_means.compute(self.trainer.strategy), sync_dist=True)

    def error(self, batch: TrajectoryBatch, split: str) -> Tensor:
        """L1 between the policy's actions and the recorded ones, in halves of the schema's bounds."""
        frames = rearrange(self.tokens(batch, split), "b (t n) d -> b t n d", t=batch.states.shape[1])
        # The last frame is the goal of every frame before it, so one window is as many examples as actions.
        goal = repeat(frames[:, -1], "b n d -> (b t) n d", t=batch.actions.shape[1])
        now = rearrange(frames[:, :-1], "b t n d -> (b t) n d")
        guess = self.policy(now, goal, rearrange(batch.states[:, :-1], "b t s -> (b t) s"))
        return l1_loss(guess / self.unit, rearrange(batch.actions, "b t a -> (b t) a") / self.unit)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.policy)

    def build(self) -> None:
        data = self.trainer.datamodule
        self.policy = ClonedPolicy(self.config)
        self.tokens = FrameTokens(self.encoder, data, self.latents)
        check_policy(self.config, self.encoder.config, data.schema, self.tokens.grid)
        # Errors are counted in halves of the schema's bounds, so that metres and closedness weigh alike. The
        # recipe decides the unit, so checkpoints need not hold it.
        half = [(high - low) / 2 for low, high in data.schema.bounds]
        self.register_buffer("unit", torch.tensor(half), persistent=False)

    def parts(self) -> dict[str, Part]:
        return {"policy": policy_part(self.policy, acting_facts(self))}


if __name__ == "__main__":
    run(Clone, TrajectoryData)

"""Goal-conditioned behaviour cloning on the frozen encoder: the baseline without a world model (V-JEPA 2, section 4.1: Octo).

    python -m stages.clone fit --config conf/clone.yaml

Every frame of a window is a start, its last frame their goal in hindsight, and the recorded action the answer.
"""

from dataclasses import asdict

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import l1_loss

from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.frozen import freeze
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.module import TrajectoryData
from vjepa.robots.windows import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens, check_equal
from vjepa.training.frozen_stage import FrozenStage
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.weights.export import Part, policy_part
from vjepa.weights.load import Weights, load_encoder


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
            encoder: A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory.
            policy: The network that is trained.
            weights: Which of the source's encoders is read.
            optim: AdamW and its schedules.
            latents: Where tokens are kept, with `data.window.pixels: false`.
            seed: Decides the policy's initial weights.
        """
        super().__init__()
        self.source, self.config, self.weights = encoder, policy, weights
        self.optim, self.latents, self.seed = optim, latents, seed

    def configure_model(self) -> None:
        if hasattr(self, "policy"):
            return
        self.encoder = freeze(load_encoder(self.source, self.weights))
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.policy = ClonedPolicy(self.config)
        self.tokens, schema = (
            FrameTokens(self.encoder, self.trainer.datamodule, self.latents),
            self.trainer.datamodule.schema,
        )
        H, W = self.tokens.grid
        for name, given, what, expected in (
            ("tokens", self.config.tokens, "frames", H * W),
            ("token_width", self.config.token_width, "tokens", self.encoder.config.width),
            ("state_dim", self.config.state_dim, "states", schema.state_dims),
            ("action_dim", self.config.action_dim, "actions", schema.action_dims),
        ):
            check_equal(f"model.policy.{name}", given, what, expected)
        spread = [(high - low) / 2 for low, high in schema.bounds]
        self.register_buffer(
            "unit", torch.tensor(spread), persistent=False
        )  # so that metres and closedness weigh alike

    def error(self, batch: TrajectoryBatch, split: str) -> Tensor:
        """L1 between the policy's actions and the recorded ones, in halves of the schema's bounds."""
        frames = rearrange(self.tokens(batch, split), "b (t n) d -> b t n d", t=batch.states.shape[1])
        goal = repeat(frames[:, -1], "b n d -> (b t) n d", t=batch.actions.shape[1])
        now = rearrange(frames[:, :-1], "b t n d -> (b t) n d")
        guess = self.policy(now, goal, rearrange(batch.states[:, :-1], "b t s -> (b t) s"))
        return l1_loss(guess / self.unit, rearrange(batch.actions, "b t a -> (b t) a") / self.unit)

    def training_step(self, batch: TrajectoryBatch, batch_idx: int) -> Tensor:
        loss = self.error(batch, "train")
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: TrajectoryBatch, batch_idx: int) -> None:
        if len(batch.actions):
            self.log("val/loss", self.error(batch, "val"), batch_size=len(batch.actions), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.policy)

    def parts(self) -> dict[str, Part]:
        return {"policy": policy_part(self.policy, asdict(self.trainer.datamodule.schema))}


if __name__ == "__main__":
    run(Clone, TrajectoryData)

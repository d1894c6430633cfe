"""Pretraining by predicting masked tubelets in representation space (V-JEPA 2, sections 2.1, 2.4 and A.1).

python -m stages.pretrain fit --config conf/pretrain.yaml
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TypedDict

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import l1_loss

from vjepa.data.clip_module import ClipData
from vjepa.data.clips import Batch
from vjepa.data.transforms import normalise
from vjepa.evaluation.collapse import mean_baseline
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.frozen import freeze_copy
from vjepa.models.grid import Grid, take
from vjepa.models.layers import plain_norm
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.objectives import ema
from vjepa.objectives.masks import MaskConfig, View, sample_masks
from vjepa.training.optim import OptimConfig, Schedule, adamw, set_step
from vjepa.training.stage_cli import check_divisible, run
from vjepa.weights.checkpoints import checkpoint_in
from vjepa.weights.export import Part, encoder_part, predictor_part
from vjepa.weights.files import read_pickle, strictly
from vjepa.weights.load import load_encoder, load_predictor

Clip = Float[Tensor, "b c t h w"]
VALIDATION_SEED = 1_000_003  # masks of validation differ from those of training, and never change


class Outputs(TypedDict):
    """What a step tells its monitors."""

    loss: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    gap: Float[Tensor, ""]
    grid: Grid
    target: Float[Tensor, "b n d"]
    errors: list[tuple[View, Float[Tensor, "b m"]]]
    """L1 of every predicted token, by mask kind."""


class Pretrain(L.LightningModule):
    def __init__(
        self,
        encoder: EncoderConfig = EncoderConfig(),
        predictor: PredictorConfig = PredictorConfig(),
        masks: MaskConfig = MaskConfig(),
        optim: OptimConfig = OptimConfig(),
        momentum: Schedule = Schedule(0.99925),
        init_from: str | None = None,
        activation_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: The network that is trained, and that every later stage reads.
            predictor: The narrow network that fills dropped tokens.
            masks: Which tokens are dropped.
            optim: AdamW and its schedules.
            momentum: Of the target encoder's moving average.
            init_from: Start from these weights: another run's export, its `.ckpt`, or its folder of checkpoints.
            activation_checkpointing: Recompute the encoder's blocks in the backward pass: a third more work, far less memory.
            seed: Decides the initial weights (through seed_everything) and the masks.
        """
        super().__init__()
        self.masks, self.optim, self.momentum = masks, optim, momentum
        self.init_from, self.seed = init_from, seed
        self.encoder = Encoder(encoder)
        self.encoder.activation_checkpointing = activation_checkpointing
        self.predictor = Predictor(predictor, encoder)
        self.target = freeze_copy(self.encoder)

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        clip = normalise(batch.clip)
        out = self.objective(clip, self.masks, self.seed, self.global_step, self.micro_batch(batch_idx))
        self.log("loss", out["l1"], prog_bar=True, logger=False)  # the monitors write it down
        return out

    def objective(self, clip: Clip, masks: MaskConfig, seed: int, step: int, rank: int) -> Outputs:
        """Equation 1: L1 between predicted and target tokens at the dropped places, averaged over mask kinds.

        `rank` numbers this batch among those of optimiser step `step`. Also returns what the telemetry looks at: the target
        tokens, the mean L1 between the two encoders' tokens at the kept places, and the error of every predicted token.
        """
        grid, target = self.encoder.grid(clip), self.targets(clip)
        size = min(
            masks.group, len(clip)
        )  # clips whose token counts are equal; a large batch holds several groups
        errors, gaps = [], []
        for part, (some, theirs) in enumerate(zip(clip.split(size), target.split(size), strict=True)):
            position = rank * (len(clip) // size) + part
            for view in sample_masks(masks, grid, len(some), seed=seed, step=step, rank=position):
                keep, drop = (index.to(clip.device) for index in view)
                context = self.encoder(some, keep)
                guess = self.predictor(context, keep, drop, grid)
                errors.append((View(keep, drop), (guess.float() - take(theirs, drop)).abs().mean(dim=-1)))
                gaps.append(l1_loss(plain_norm(context.detach()), take(theirs, keep)))
        loss = torch.stack([error.mean() for _, error in errors]).mean()
        # Lightning divides "loss" by the accumulated micro-batches; "l1" stays what it is, for the monitors.
        seen = {"grid": grid, "target": target, "errors": [(view, error.detach()) for view, error in errors]}
        return {"loss": loss, "l1": loss.detach(), "gap": torch.stack(gaps).mean(), **seen}

    @torch.no_grad()
    def targets(self, clip: Clip) -> Float[Tensor, "b n d"]:
        """The target encoder's tokens of the whole clip, layer-normed without affine parameters."""
        return plain_norm(self.target(clip))

    def micro_batch(self, batch_idx: int) -> int:
        """This batch's number among all batches, over devices and accumulation, of the coming optimiser step."""
        return batch_idx % self.trainer.accumulate_grad_batches * self.trainer.world_size + self.global_rank

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if len(batch.clip) == 0:
            return None
        clip = normalise(batch.clip)
        masks = replace(self.masks, group=len(clip))
        out = self.objective(clip, masks, VALIDATION_SEED, batch_idx, self.global_rank)
        ratio = out["loss"] / mean_baseline(out["target"])
        self.log_dict(
            {"val/loss": out["loss"], "val/loss_over_mean": ratio}, sync_dist=True, batch_size=len(clip)
        )
        return out

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.encoder, self.predictor)

    def setup(self, stage: str) -> None:
        self.check_settings(self.trainer.datamodule)
        # 1. resume this run (Lightning restores everything later) -> 2. another run's weights -> 3. scratch
        if stage == "fit" and self.init_from and not self.trainer.ckpt_path:
            self.start_from(Path(self.init_from))

    def start_from(self, source: Path) -> None:
        """Take over the weights of `source`: a `.ckpt` of this stage or a folder of them, or whatever load_encoder reads."""
        source = checkpoint_in(source)
        if source.suffix == ".ckpt":
            checkpoint = read_pickle(source)
            self.check_same_networks(checkpoint.get("networks", {}), source)
            strictly(self, checkpoint["state_dict"], source)
            return
        student, target, predictor = (
            load_encoder(source, "student"),
            load_encoder(source, "ema"),
            load_predictor(source),
        )
        theirs = {"encoder": asdict(student.config), "predictor": asdict(predictor.config)}
        self.check_same_networks(theirs, source)
        for ours, loaded in ((self.encoder, student), (self.target, target), (self.predictor, predictor)):
            strictly(ours, loaded.state_dict(), source)

    def networks(self) -> dict[str, dict]:
        """What the weights alone do not say: heads, rotary layout."""
        return {"encoder": asdict(self.encoder.config), "predictor": asdict(self.predictor.config)}

    def check_same_networks(self, theirs: dict[str, dict], source: Path) -> None:
        for name, config in self.networks().items():
            other = {key: value for key, value in theirs.get(name, config).items() if value != config[key]}
            if other:
                raise UserError(
                    f"{source} holds another {name} than model.{name}: {other}; give it the same settings"
                )

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["networks"] = self.networks()

    def check_settings(self, data: ClipData) -> None:
        """Settings that only the first step would refuse, tried on nothing."""
        batch, group = data.batch_size, self.masks.group
        if group % batch and batch % group:
            raise UserError(
                f"data.batch_size={batch} and model.masks.group={group}: one must be a multiple of the other"
            )
        grid = check_divisible(self.encoder, data.clip)
        sample_masks(self.masks, grid, min(batch, group), seed=self.seed, step=0, rank=0)
        if not 0 <= self.momentum.peak <= 1:
            raise UserError(
                f"model.momentum.peak={self.momentum.peak} is a share of the average that stays; give 0 to 1"
            )

    def on_fit_start(self) -> None:
        self.total_steps = int(self.trainer.estimated_stepping_batches)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        """The schedules, AdamW and the moving average, once per step whatever is accumulated. The average is updated here
        and not in the batch-end hook because checkpoints are saved between the two."""
        step = self.global_step + 1
        set_step(optimizer.optimizer, self.optim, step, self.total_steps)
        optimizer.step(closure=optimizer_closure)
        ema.update(self.target, self.encoder, self.momentum.at(step, self.total_steps))

    def parts(self) -> dict[str, Part]:
        """What the next stages take over."""
        return {
            "ema": encoder_part(self.target),
            "student": encoder_part(self.encoder),
            "predictor": predictor_part(self.predictor, self.encoder.config),
        }


if __name__ == "__main__":
    run(Pretrain, ClipData)

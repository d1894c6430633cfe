"""Pretraining by predicting masked tubelets in representation space (V-JEPA 2, sections 2.1, 2.4 and A.1).

The encoder sees the kept tubelets of a clip. From its tokens a predictor predicts the tokens of the dropped
tubelets. Its targets are the tokens that the target encoder, a moving average, computes from the whole clip.

    python -m stages.pretrain fit --config conf/pretrain.yaml
"""

from dataclasses import replace

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clip_data import ClipData
from vjepa.data.clips import Batch
from vjepa.data.transforms import normalise
from vjepa.errors import require
from vjepa.evaluation.collapse import mean_baseline
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.frozen import freeze_copy
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.objectives import ema
from vjepa.objectives.masked_prediction import mean_l1, predict_masked, target_tokens
from vjepa.objectives.masks import MaskConfig
from vjepa.training.label_free_monitor import LabelFreeMonitor
from vjepa.training.mask_groups import batch_in_step, check_groups, sample_groups
from vjepa.training.optim import OptimConfig, Schedule, adamw, set_step
from vjepa.training.pretraining_monitors import Outputs
from vjepa.training.stage_cli import check_divisible, run
from vjepa.training.warm_start import check_same_configs, network_configs, start_from
from vjepa.weights.export import Part, encoder_part, predictor_part

VALIDATION_SEED = 1_000_003
"""Seed of the masks of validation: they differ from those of training and are the same every time."""


class Pretrain(L.LightningModule):
    def __init__(
        self,
        encoder: EncoderConfig = EncoderConfig(),
        predictor: PredictorConfig = PredictorConfig(),
        masks: MaskConfig = MaskConfig(),
        optim: OptimConfig = OptimConfig(),
        momentum: Schedule = Schedule(0.99925),  # the paper's, at a batch of 3,072
        init_from: str | None = None,
        activation_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: The network that is trained, and that every later stage reads.
            predictor: The narrow network that predicts dropped tokens.
            masks: Which tokens are dropped.
            optim: AdamW and its schedules.
            momentum: Share of the target encoder's moving average that stays at each step.
            init_from: Start from these weights: another run's export, `.ckpt`, or folder of checkpoints.
            activation_checkpointing: Compute the encoder's blocks again for the gradients: far less memory.
            seed: Decides the initial weights (through seed_everything) and the masks.
        """
        super().__init__()
        self.masks = masks
        self.optim = optim
        self.momentum = momentum
        self.init_from = init_from
        self.continues = False  # the command line says so, as the Trainer knows it only after `setup`
        self.seed = seed
        self.encoder = Encoder(encoder)
        self.encoder.activation_checkpointing = activation_checkpointing
        self.predictor = Predictor(predictor, encoder)
        self.target = freeze_copy(self.encoder)

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        number = batch_in_step(self.trainer, batch_idx)
        return self.predict(normalise(batch.clip), self.masks, self.seed, self.global_step, number)

    def predict(
        self, clip: Float[Tensor, "b c t h w"], masks: MaskConfig, seed: int, step: int, batch: int
    ) -> Outputs:
        """Equation 1 on batch number `batch` of optimiser step `step`."""
        grid = self.encoder.grid(clip)
        targets = target_tokens(self.target, clip)  # once for all mask kinds
        predictions = []
        for clips, views in sample_groups(masks, grid, len(clip), seed=seed, step=step, batch=batch):
            predictions += predict_masked(self.encoder, self.predictor, clip[clips], targets[clips], views)
        loss = mean_l1(predictions)
        shown = {"targets": targets, "predictions": [prediction.detached() for prediction in predictions]}
        return {"loss": loss, "l1": loss.detach(), "grid": grid, **shown}

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if len(batch.clip) == 0:  # none could be decoded
            return None
        clip = normalise(batch.clip)
        masks = replace(self.masks, group=len(clip))  # a batch may be of any size here
        outputs = self.predict(clip, masks, VALIDATION_SEED, batch_idx, self.global_rank)
        loss = outputs["loss"]
        values = {"val/loss": loss, "val/loss_over_mean": loss / mean_baseline(outputs["targets"])}
        self.log_dict(values, sync_dist=True, batch_size=len(clip))
        return outputs

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.encoder, self.predictor)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        """The schedules, AdamW and the moving average, once per step however many batches are accumulated."""
        step = self.global_step + 1
        set_step(optimizer.optimizer, self.optim, step, self.total_steps)
        optimizer.step(closure=optimizer_closure)
        # Here and not in the batch-end hook, because checkpoints are saved between the two.
        ema.update(self.target, self.encoder, self.momentum.at(step, self.total_steps))

    def setup(self, stage: str) -> None:
        """Weights: 1. this run's checkpoint, which Lightning loads later; 2. `init_from`; 3. scratch."""
        self.check_settings(self.trainer.datamodule)
        if self.init_from and not self.continues:
            start_from(self.init_from, dict(self.named_children()))

    def check_settings(self, data: ClipData) -> None:
        """Raise UserError for settings that only the first step would refuse."""
        check_groups(self.masks, check_divisible(self.encoder, data.clip), data.batch_size, self.seed)
        peak = self.momentum.peak
        is_share = 0 <= peak <= 1
        require(is_share, f"model.momentum.peak={peak} is a share of the average that stays; give 0 to 1")

    def configure_callbacks(self) -> list[L.Callback]:
        return [LabelFreeMonitor()]  # does nothing where the manifests have labels

    def on_fit_start(self) -> None:
        self.total_steps = int(self.trainer.estimated_stepping_batches)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["networks"] = network_configs(dict(self.named_children()))

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raises UserError for networks of other settings, of which the weights may fit all the same."""
        loaded = checkpoint.get("networks", {})
        check_same_configs(network_configs(dict(self.named_children())), loaded, self.trainer.ckpt_path)

    def parts(self) -> dict[str, Part]:
        """The three networks: later stages read one of the encoders, a cooldown starts from all of them."""
        return {
            "ema": encoder_part(self.target),
            "student": encoder_part(self.encoder),
            "predictor": predictor_part(self.predictor, self.encoder.config),
        }


if __name__ == "__main__":
    run(Pretrain, ClipData)

"""Pretraining by predicting masked tubelets in representation space (V-JEPA 2, sections 2.1, 2.4 and A.1).

The encoder sees the kept tubelets of a clip. From its tokens a predictor predicts the tokens of the dropped
tubelets. Its targets are the tokens that the target encoder, a moving average, computes from the whole clip.

    python -m stages.pretrain fit --config conf/pretrain.yaml
"""

from collections.abc import Sequence

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clip_data import ClipData
from vjepa.data.clips import Batch
from vjepa.data.means import Means
from vjepa.data.transforms import normalise
from vjepa.evaluation.collapse import mean_baseline
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.frozen import freeze_copy
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.objectives import ema
from vjepa.objectives.masked_prediction import mean_l1, predict_masked, target_tokens
from vjepa.objectives.masks import MaskConfig
from vjepa.training.alarms import AlarmConfig
from vjepa.training.label_free_monitor import LabelFreeMonitor
from vjepa.training.mask_groups import Group, batch_in_step, check_groups, held_out_masks, sample_groups
from vjepa.training.optim import OptimConfig, Schedule, adamw, set_step
from vjepa.training.pretraining_monitors import CollapseMonitor, Outputs
from vjepa.training.sharded import share_out
from vjepa.training.stage_cli import check_divisible, run
from vjepa.training.warm_start import check_same_configs, network_configs, start_from
from vjepa.weights.export import Part, encoder_part, predictor_part


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
        alarm: AlarmConfig = AlarmConfig(),
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
            alarm: When the run counts as collapsed, and what happens then.
            seed: Decides the initial weights (through seed_everything) and the masks.
        """
        super().__init__()
        self.masks = masks
        self.optim = optim
        self.momentum = momentum
        self.init_from = init_from
        self.alarm = alarm
        self.continues = False  # the command line says so, as the Trainer knows it only after `setup`
        self.seed = seed
        self.val_means = Means(("val/loss", "val/loss_over_mean"))
        self.encoder = Encoder(encoder)
        self.encoder.activation_checkpointing = activation_checkpointing
        self.predictor = Predictor(predictor, encoder)
        self.target = freeze_copy(self.encoder)

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        clip = normalise(batch.clip)
        place = {"seed": self.seed, "step": self.global_step, "batch": batch_in_step(self.trainer, batch_idx)}
        return self.predict(clip, sample_groups(self.masks, self.encoder.grid(clip), len(clip), **place))

    def predict(self, clip: Float[Tensor, "b c t h w"], groups: Sequence[Group]) -> Outputs:
        """Equation 1 on a batch whose clips have the masks of their group."""
        targets = target_tokens(self.target, clip)  # once for all mask kinds
        predictions = []
        for clips, views in groups:
            predictions += predict_masked(self.encoder, self.predictor, clip[clips], targets[clips], views)
        loss = mean_l1(predictions)
        shown = {"targets": targets, "predictions": [prediction.detached() for prediction in predictions]}
        return {"loss": loss, "l1": loss.detach(), "grid": self.encoder.grid(clip), **shown}

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if len(batch.clip) == 0:  # none could be decoded
            return None
        clip = normalise(batch.clip)
        outputs = self.predict(clip, held_out_masks(self.masks, self.encoder.grid(clip), batch.index))
        loss = outputs["loss"]
        means = {"val/loss": loss, "val/loss_over_mean": loss / mean_baseline(outputs["targets"])}
        self.val_means.add(means, len(clip))
        return outputs

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_means.compute(self.trainer.strategy), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw(self.optim, self.encoder, self.predictor)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        """The schedules, AdamW and the moving average, once per step however many batches are accumulated."""
        step = self.global_step + 1
        set_step(optimizer.optimizer, self.optim, step, self.total_steps)
        optimizer.step(closure=optimizer_closure)  # checkpoints are saved before the batch-end hook
        ema.update(self.target, self.encoder, self.momentum.at(step, self.total_steps))

    def setup(self, stage: str) -> None:
        """Weights: 1. this run's checkpoint, which Lightning loads later; 2. `init_from`; 3. scratch."""
        data = self.trainer.datamodule
        check_groups(self.masks, check_divisible(self.encoder, data.clip), data.batch_size, self.seed)
        ema.check_momentum(self.momentum.peak)
        if self.init_from and not self.continues:
            start_from(self.init_from, dict(self.named_children()))

    def configure_model(self) -> None:
        share_out(self)

    def configure_callbacks(self) -> list[L.Callback]:
        return [LabelFreeMonitor(), CollapseMonitor(self.alarm)]  # the first one only judges without labels

    @property
    def total_steps(self) -> int:
        return int(self.trainer.estimated_stepping_batches)  # not before `on_train_start`, see FrozenStage

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["networks"] = network_configs(dict(self.named_children()))

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raises UserError for networks of other settings, of which the weights may fit all the same."""
        check_same_configs(dict(self.named_children()), checkpoint.get("networks"), self.trainer.ckpt_path)

    def parts(self) -> dict[str, Part]:
        """The three networks: later stages read one of the encoders, a cooldown starts from all of them."""
        return {
            "ema": encoder_part(self.target),
            "student": encoder_part(self.encoder),
            "predictor": predictor_part(self.predictor, self.encoder.config),
        }


if __name__ == "__main__":
    run(Pretrain, ClipData)

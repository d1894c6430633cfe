"""Pretraining by predicting masked tubelets in representation space (V-JEPA 2, sections 2.1, 2.4 and A.1).

The encoder sees the kept tubelets of a clip. From its tokens a predictor predicts the tokens of the dropped
tubelets. Its targets are the tokens that the target encoder, a moving average, computes from the whole clip.
With `context` it predicts the kept ones too, and with `images` single images join the clips (V-JEPA 2.1).

    python -m stages.pretrain fit --config conf/pretrain.yaml
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from vjepa.data.clip_data import ClipData
from vjepa.data.clips import Batch
from vjepa.data.means import Means
from vjepa.data.transforms import normalise
from vjepa.evaluation.collapse import mean_baseline
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.frozen import freeze_copy, freeze_image_parts
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.objectives.dense import ContextConfig, ImageConfig
from vjepa.objectives.masked_prediction import target_tokens
from vjepa.objectives.masks import MaskConfig
from vjepa.training.alarms import AlarmConfig
from vjepa.training.averaged_stage import AveragedStage
from vjepa.training.mask_groups import Group, batch_in_step, held_out_masks, predict_groups, sample_groups
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.pretraining_checks import check_objective
from vjepa.training.pretraining_outputs import Outputs, joint_outputs, outputs_of
from vjepa.training.stage_cli import run

Clip = Float[Tensor, "b c t h w"]
Context = ContextConfig | None


class Pretrain(AveragedStage):
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
        context: Context = None,
        images: ImageConfig | None = None,
        half_life: float | None = None,
    ) -> None:
        """
        Args:
            encoder: The network that is trained, and that every later stage reads.
            predictor: The narrow network that predicts dropped tokens.
            masks: Which tokens are dropped.
            optim: AdamW and its schedules.
            momentum: Share of the target encoder's moving average that stays at each step.
            init_from: Start from these weights: another run's folder, `.ckpt` or export, or released ones.
            activation_checkpointing: Compute the encoder's blocks again for the gradients: far less memory.
            alarm: When the run counts as collapsed, and what happens then.
            seed: Decides the initial weights (through seed_everything) and the masks.
            context: The loss at kept places; null without it.
            images: Single images beside the clips; null without them.
            half_life: Clips after which half of the average is new, at any batch; it replaces `momentum`.
        """
        super().__init__(optim, momentum, half_life, init_from, alarm, seed)
        self.masks = masks
        self.context = context
        self.images = images
        self.val_means = Means(("val/loss", "val/loss_over_mean"))
        self.encoder = Encoder(encoder)
        self.encoder.activation_checkpointing = activation_checkpointing
        self.predictor = Predictor(predictor, encoder)
        self.target = freeze_copy(self.encoder)
        if images is None:
            freeze_image_parts(self.encoder, self.predictor)

    def training_step(self, batch: Batch, batch_idx: int) -> Outputs:
        outputs = self.predict_drawn(normalise(batch.clip), self.masks, batch_idx, self.context)
        if self.images is None:
            return outputs
        clip = normalise(batch.images)
        of_images = self.predict_drawn(clip, self.images.masks, batch_idx, self.images.context)
        return joint_outputs(outputs, of_images, self.images.share)

    def predict_drawn(self, clip: Clip, masks: MaskConfig, batch_idx: int, context: Context) -> Outputs:
        """Under the masks that this step draws."""
        place = {"seed": self.seed, "step": self.global_step, "batch": batch_in_step(self.trainer, batch_idx)}
        return self.predict(clip, sample_groups(masks, self.encoder.grid(clip), len(clip), **place), context)

    def predict(self, clip: Clip, groups: Sequence[Group], context: Context = None) -> Outputs:
        """Equation 1 for clips with the masks of their group; `context` adds equation 2 of V-JEPA 2.1."""
        targets = self.target_tokens(clip)  # once for all mask kinds
        predictions = predict_groups(self.encoder, self.predictor, clip, targets, groups)
        weight = context.at(self.global_step + 1, self.total_steps) if context else 0.0
        return outputs_of(predictions, targets, self.encoder.grid(clip), context, weight)

    def target_tokens(self, clip: Clip) -> Float[Tensor, "b n d"]:
        return target_tokens(self.target, clip)

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        if len(batch.clip) == 0:  # none could be decoded
            return None
        clip = normalise(batch.clip)
        outputs = self.predict(clip, held_out_masks(self.masks, self.encoder.grid(clip), batch.index))
        loss = outputs["loss"]
        means = {"val/loss": loss, "val/loss_over_mean": loss / mean_baseline(outputs["targets"])}
        self.val_means.add(means, len(clip))
        return outputs

    def setup(self, stage: str) -> None:
        check_objective(self, self.trainer.datamodule)
        super().setup(stage)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.val_means.compute(self.trainer.strategy), sync_dist=True)


if __name__ == "__main__":
    run(Pretrain, ClipData)

"""Distillation: a small encoder learns to predict a frozen, larger one's tokens (V-JEPA 2.1, appendix B).

The student sees the kept tubelets of a clip. From its last level a predictor predicts the teacher's tokens of
the whole clip, at dropped places and, with `context`, at kept ones. The moving average of the student takes
no part in the loss; it is what later stages read.

    python -m stages.distil fit --config conf/distil.yaml --model.teacher FILE
"""

from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from stages.pretrain import Clip, Context, Pretrain
from vjepa.data.clip_data import ClipData
from vjepa.errors import require
from vjepa.models.encoder import EncoderConfig
from vjepa.models.frozen import freeze
from vjepa.models.layers import plain_norm
from vjepa.models.predictor import PredictorConfig
from vjepa.objectives.dense import ImageConfig
from vjepa.objectives.masks import MaskConfig
from vjepa.training.alarms import AlarmConfig
from vjepa.training.frozen_stage import TEACHER_DIGEST
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.pretraining_checks import check_teacher
from vjepa.training.stage_cli import run
from vjepa.weights.files import weights_digest
from vjepa.weights.load import Weights, load_encoder


class Distil(Pretrain):
    FROZEN = ("teacher",)

    def __init__(
        self,
        teacher: str,
        weights: Weights = "ema",
        encoder: EncoderConfig = EncoderConfig(),
        predictor: PredictorConfig = PredictorConfig(),
        masks: MaskConfig = MaskConfig(),
        optim: OptimConfig = OptimConfig(),
        momentum: Schedule = Schedule(0.99925),
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
            teacher: Source of the frozen encoder, as `load_encoder` reads it.
            weights: Which of that source's encoders is the teacher.
            encoder: The student.
            predictor: The narrow network that predicts the teacher's tokens; `target_width` is their width.
            masks: Which tokens are dropped.
            optim: AdamW and its schedules.
            momentum: Share of the student's moving average that stays at each step.
            init_from: Start from an earlier distillation, as of a teacher before its cooldown.
            activation_checkpointing: Compute the student's blocks again for the gradients: far less memory.
            alarm: When the run counts as collapsed, and what happens then.
            seed: Decides the initial weights (through seed_everything) and the masks.
            context: The loss at kept places; null without it.
            images: Single images beside the clips; null without them.
            half_life: Clips after which half of the average is new, at any batch; it replaces `momentum`.
        """
        student = (encoder, predictor, masks, optim, momentum, init_from, activation_checkpointing)
        super().__init__(*student, alarm, seed, context, images, half_life)
        self.source = teacher
        self.weights = weights

    def configure_model(self) -> None:
        if not hasattr(self, "teacher"):  # Lightning calls this before `fit`, and again before `test`
            self.teacher = freeze(load_encoder(self.source, self.weights))
            check_teacher(self, self.trainer.datamodule)
        super().configure_model()

    @torch.no_grad()
    def target_tokens(self, clip: Clip) -> Float[Tensor, "b n d"]:
        """The teacher's tokens of its last level; no deep supervision."""
        return plain_norm(self.teacher(clip))

    @cached_property
    def teacher_digest(self) -> str:
        return weights_digest(self.teacher)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Leaves the teacher out, which has a file of its own."""
        super().on_save_checkpoint(checkpoint)
        state = checkpoint["state_dict"].items()
        checkpoint["state_dict"] = {key: value for key, value in state if not key.startswith("teacher.")}
        checkpoint[TEACHER_DIGEST] = self.teacher_digest

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raises UserError if the run had another teacher."""
        super().on_load_checkpoint(checkpoint)
        text = f"the checkpoint was trained with another teacher than {self.source}; give that of its run"
        require(checkpoint[TEACHER_DIGEST] == self.teacher_digest, text)
        teacher = {f"teacher.{key}": value for key, value in self.teacher.state_dict().items()}
        checkpoint["state_dict"] = teacher | checkpoint["state_dict"]


if __name__ == "__main__":
    run(Distil, ClipData)

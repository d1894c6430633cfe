"""Language alignment: a frozen encoder's tokens in a language model's prompt (V-JEPA 2, section 7).

    python -m stages.vlm fit --config conf/align.yaml    the projector alone, on descriptions
    python -m stages.vlm fit --config conf/vlm.yaml      then the language model too, on questions and answers

Each phase is a run of its own. It trains the networks that have a learning rate. `init_from` names the phase
before it.
"""

import torch
from torch import Tensor

from vjepa.errors import require
from vjepa.language.batches import CaptionBatch
from vjepa.language.caption_data import CaptionData
from vjepa.language.chat import Chat
from vjepa.language.language_model import LanguageConfig, load_tokenizer
from vjepa.language.measures import ConversationCounts, HeldOutMeans
from vjepa.language.phases import PhaseStart, check_context, save_trained_language, standardise_projector
from vjepa.language.token_cache import fill_cache
from vjepa.language.video_chat import VideoChat
from vjepa.models.projector import ProjectorConfig
from vjepa.training.frozen_stage import FrozenStage, divide_gradients
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.weights.export import Part
from vjepa.weights.load import Weights


class VLM(FrozenStage):
    def __init__(
        self,
        encoder: str,
        language: LanguageConfig = LanguageConfig(),
        projector: ProjectorConfig = ProjectorConfig(),
        optim: OptimConfig = OptimConfig(lr=Schedule(1e-3)),
        language_lr: Schedule | None = None,
        context: int = 2048,
        init_from: str | None = None,
        weights: Weights = "ema",
        cache: str | None = None,
        cache_bytes: int = 20 * 2**30,
        seed: int = 0,
    ) -> None:
        """
        Args:
            encoder: A stage's model.safetensors, Meta's `.pt`, a Hugging Face directory, or `demo`.
            language: The language model.
            projector: From the encoder's tokens to the language model's embeddings.
            optim: AdamW and the projector's schedules.
            language_lr: The language model's learning rate, or its adapter's. Without one it stays frozen.
            context: Most tokens of a conversation, its clips included.
            init_from: The phase before: its model.safetensors, or its folder.
            weights: Which of the source's encoders is read.
            cache: Folder for the encoder's tokens, which are then computed once. Crops are never random.
            cache_bytes: Most bytes that this folder may take.
            seed: Decides the projector's initial weights and the order.
        """
        super().__init__(encoder, weights, optim, seed)
        self.language_config = language
        self.projector_config = projector
        self.language_lr = language_lr
        self.context = context
        self.init_from = init_from
        self.cache = cache
        self.cache_bytes = cache_bytes
        self.trains_language = language_lr is not None
        self.counts = ConversationCounts()
        require(language.lora is None or self.trains_language, "model.language.lora needs model.language_lr")

    def build(self) -> None:
        self.start = PhaseStart(self.language_config, self.init_from)
        self.model = self.start.build_model(self.projector_config, self.encoder, self.trains_language)
        chat = Chat(load_tokenizer(self.start.source), self.context)
        self.video_chat = VideoChat(self.encoder, self.model, chat, self.trainer.datamodule.clip)
        check_context(self.video_chat)
        self.means = HeldOutMeans(self.trainer.datamodule.val_kinds)

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        """The negative log-likelihood of the answers' tokens, added up: batches differ in their number.

        `end_step` divides the gradient by the number of tokens of all batches.
        """
        inputs = self.video_chat.training_batch(batch.rows, batch.clip)
        answers = self.model(inputs.ids, inputs.mask, inputs.clips, inputs.labels)
        self.counts.add(len(batch.rows), inputs, answers.tokens)
        means = {"train/loss": answers.loss, "train/token_accuracy": answers.accuracy}
        self.step_means.add(means, answers.tokens)
        self.summed_losses = max(answers.tokens, 1)  # for what shows the loss of a batch
        return answers.loss * answers.tokens

    def end_step(self, means: dict[str, float]) -> None:
        divide_gradients(self, self.counts.end_step(self.trainer))
        groups = self.optimizers().param_groups
        rates = {"optim/language_lr": groups[-1]["lr"]} if self.trains_language else {}
        super().end_step(means | self.counts.values() | rates)

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        if batch.rows:  # some row could be decoded
            self.means.update(self.video_chat, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Matrices and vectors of the projector, then, if it is trained, those of the language model."""
        optimizer = adamw(self.optim, self.model.projector)
        if self.trains_language:
            for group in adamw(self.optim, self.model.language).param_groups:
                optimizer.add_param_group({"params": group["params"]})  # `set_step` sets the rest
        return optimizer

    def learning_rates(self) -> list[Schedule]:
        # One for each pair of groups (matrices, vectors) of `configure_optimizers`.
        return [self.optim.lr, self.language_lr] if self.trains_language else [self.optim.lr]

    def on_fit_start(self) -> None:
        data = self.trainer.datamodule
        if self.cache:
            data.cache = fill_cache(self.cache, self.cache_bytes, self.video_chat, self.trainer)
        if not self.init_from and not self.trainer.ckpt_path:  # only a new projector
            standardise_projector(self.video_chat, data)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.means.compute(self.trainer.strategy), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["counted"] = self.counts.state()  # a resumed run goes on counting

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        if "counted" in checkpoint:  # else it is of another stage, and does not fit
            self.counts = ConversationCounts(*checkpoint["counted"])
        super().on_load_checkpoint(checkpoint)

    def on_train_end(self) -> None:
        if self.trains_language and self.global_step >= self.total_steps:
            run = self.trainer.default_root_dir
            save_trained_language(self.video_chat, run, writes=self.trainer.is_global_zero)

    def parts(self) -> dict[str, Part]:
        encoder = {"source": self.source, "weights": self.weights}
        language = self.start.metadata(self.trains_language)
        return {"projector": self.video_chat.projector_part(encoder, language)}


if __name__ == "__main__":
    run(VLM, CaptionData)

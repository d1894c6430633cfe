"""Language alignment: a frozen encoder's tokens in a language model's prompt (V-JEPA 2, section 7).

    python -m stages.vlm fit --config conf/align.yaml       the projector alone, on descriptions
    python -m stages.vlm fit --config conf/vlm.yaml         then the language model too, on questions and answers

Each phase is a run of its own: what is trained is what has a learning rate, and `init_from` says what it goes on from.
"""

from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from vjepa.data.latents import LatentCache, latent_key
from vjepa.data.loader import GRACE
from vjepa.errors import DataError, require
from vjepa.language.batches import CaptionBatch
from vjepa.language.chat import Chat
from vjepa.language.language_model import (
    LanguageConfig,
    embedding_std,
    found,
    has_adapter,
    load_language,
    load_tokenizer,
    save_language,
    train_language,
)
from vjepa.language.media import MediaFrames, kept_tokens
from vjepa.language.model import VisionLanguageModel
from vjepa.language.module import CaptionData
from vjepa.language.video_chat import (
    LANGUAGE,
    TrainingBatch,
    VideoChat,
    export_in,
    projector_part,
    shared_out,
    tuples,
    weights_digest,
)
from vjepa.models.frozen import freeze
from vjepa.models.projector import Projector, ProjectorConfig
from vjepa.training.optim import OptimConfig, Schedule, adamw
from vjepa.training.stage_cli import run
from vjepa.weights.export import Part, read_export
from vjepa.weights.files import strictly
from vjepa.weights.load import Weights, load_encoder

EXAMPLES = 64
"""Conversations whose clips say how large each channel of the encoder is. The same ones in every process."""


class VLM(L.LightningModule):
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
            encoder: A stage's model.safetensors, an upstream `.pt`, or a Hugging Face directory. It stays frozen.
            language: The language model.
            projector: From the encoder's tokens to the language model's embeddings.
            optim: AdamW and the projector's schedules.
            language_lr: The language model's own learning rate, or its adapter's. Without one it stays as it is.
            context: Most tokens of a conversation, its clips included.
            init_from: Go on from this phase: its model.safetensors, with the language model beside it if that was trained.
            weights: Which of the encoder's source's encoders is read.
            cache: Folder for the encoder's tokens, which are then made once. They do not change, since nothing is cropped.
            cache_bytes: Most that this folder may take.
            seed: Decides the projector's initial weights and the order.
        """
        super().__init__()
        self.source, self.language_config, self.projector_config = encoder, language, projector
        self.optim, self.language_lr, self.context = optim, language_lr, context
        self.init_from, self.weights, self.cache, self.cache_bytes = init_from, weights, cache, cache_bytes
        self.seed = seed
        self.drawn = self.cut = self.lost = 0
        require(
            language_lr is not None or language.lora is None, "model.language.lora needs model.language_lr"
        )

    def configure_model(self) -> None:
        if hasattr(self, "model"):
            return
        self.encoder = freeze(load_encoder(self.source, self.weights))
        source = self.language_source()
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.model = self.new_model(source)
        self.talker = VideoChat(
            self.encoder, self.model, Chat(load_tokenizer(source), self.context), self.trainer.datamodule.clip
        )
        if self.init_from:
            self.take_over_projector(export_in(self.init_from))
        self.check_settings()

    def new_model(self, source: str) -> VisionLanguageModel:
        """A fresh projector, and the language model at the source, of which what has a learning rate is trained."""
        language, lora = (
            load_language(replace(self.language_config, source=source)),
            self.language_config.lora,
        )
        if self.language_lr is not None:
            lost = lora is None and has_adapter(language)
            require(
                not lost,
                f"{source} is an adapter, and only it would be saved; give model.language.lora to train it",
            )
            train_language(language, lora is not None)
        words = language.get_input_embeddings().embedding_dim
        projector = Projector(
            self.projector_config, self.encoder.config.width, words, embedding_std(language)
        )
        return VisionLanguageModel(projector, language)

    def language_source(self) -> str:
        """The language model of the phase before, if it was trained there; else what all phases began with."""
        if self.init_from and self.phase_before["language"]["trained"]:
            return str(export_in(self.init_from).parent / LANGUAGE)
        return self.first_language()

    def first_language(self) -> str:
        """The language model that the first phase began with. Raises UserError if the recipe names another one."""
        given, here = self.language_config.source, self.init_from
        if not here:
            require(given is not None, "model.language.source is missing; name a folder or a hub's model")
            return given
        first = self.phase_before["language"].get("first") or self.phase_before["language"]["source"]
        if given is not None and found(given) != found(first):
            raise UserError(
                f"{here} was aligned with {first}, not with model.language.source={given}; leave that out"
            )
        return first

    @cached_property
    def phase_before(self) -> dict:
        return read_export(export_in(self.init_from), "projector")[0]

    def take_over_projector(self, source: Path) -> None:
        about, state = read_export(source, "projector")
        if about["encoder"]["digest"] != weights_digest(self.encoder):
            raise UserError(f"{source} was aligned with another encoder than {self.source}; give it the same")
        theirs = ProjectorConfig(**tuples(about["config"]))
        if theirs != self.projector_config:
            raise UserError(
                f"{source} holds a projector of {theirs}, not model.projector's {self.projector_config}"
            )
        strictly(self.model.projector, state, source)

    def check_settings(self) -> None:
        """What only the first step would refuse, tried on nothing."""
        clip = self.trainer.datamodule.clip
        frames = torch.empty(1, 3, clip.frames, clip.size, clip.size, device="meta")
        tokens = self.model.projector.size(self.encoder.grid(frames))
        require(
            tokens < self.context,
            f"a clip takes {tokens} tokens, all of model.context={self.context}; raise it",
        )

    def on_fit_start(self) -> None:
        self.total_steps = int(self.trainer.estimated_stepping_batches)
        if self.cache:
            self.trainer.datamodule.cache = self.fill(self.cache, self.trainer.datamodule)
        if not self.init_from and not self.trainer.ckpt_path:
            clips = self.trainer.datamodule.examples(EXAMPLES)
            self.model.projector.standardise(seen for clip in clips for seen in self.talker.see([clip]))

    def fill(self, folder: str, data: CaptionData) -> LatentCache:
        """Encode every video once; the loader then reads tokens instead of frames."""
        key = latent_key(self.encoder.state_dict(), "captions", asdict(data.clip), self.device)
        cache = LatentCache(folder, key, self.cache_bytes)
        missing = [media for media in data.all_media() if kept_tokens(cache, media, rows=[0]) is None]
        mine = missing[self.global_rank :: self.trainer.world_size]
        frames = DataLoader(MediaFrames(mine, data.clip), batch_size=None, num_workers=data.workers)
        for name, clip in tqdm(frames, desc="encoding", disable=not mine or None):
            if name:
                [seen] = self.talker.see([clip])
                cache.load(name, lambda seen=seen: seen.tokens.unflatten(0, (seen.grid[0], -1)))
        self.trainer.strategy.barrier()
        return cache

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> Tensor:
        lesson = self.talker.lesson(batch.rows, batch.clip)
        self.count(len(batch.rows), lesson)
        if lesson.lost == len(batch.rows):  # conversations of like length come together, so too long ones do
            return sum(0.0 * p.sum() for p in self.parameters() if p.requires_grad)
        reading = self.model(lesson.ids, lesson.mask, lesson.seen, lesson.labels)
        values = {"train/loss": reading.loss, "train/token_accuracy": reading.accuracy}
        counts = {"data/padding_share": 1 - lesson.mask.float().mean(), "data/cut_tokens": float(self.cut)}
        if self.language_lr is not None:
            values["optim/language_lr"] = self.language_lr.at(self.global_step + 1, self.total_steps)
        self.log_dict(
            values | counts | {"data/lost_conversations": float(self.lost)}, batch_size=len(batch.rows)
        )
        return reading.loss

    def count(self, drawn: int, lesson: TrainingBatch) -> None:
        """Raise DataError once more conversations do not fit than may be bad."""
        self.drawn, self.cut, self.lost = self.drawn + drawn, self.cut + lesson.cut, self.lost + lesson.lost
        limit = self.trainer.datamodule.max_bad_share
        if self.lost > limit * max(self.drawn, GRACE):
            raise DataError(
                f"{self.lost} of {self.drawn} conversations cannot be learned, more than data.max_bad_share={limit}; the last "
                f"because {lesson.why}"
            )

    def on_validation_epoch_start(self) -> None:
        """Sums and counts of what is measured; the same names in every process, whichever rows it has."""
        kinds = [f"accuracy_{kind}" for kind in self.trainer.datamodule.val_kinds]
        names = ("loss", "token_accuracy", "accuracy", *kinds, "lost_share", "cut_tokens")
        self.measured = {name: [0.0, 0] for name in names}

    def measure(self, name: str, mean: float | Tensor, count: int) -> None:
        total = self.measured[name]
        total[0], total[1] = total[0] + float(mean) * count, total[1] + count

    def validation_step(self, batch: CaptionBatch, batch_idx: int) -> None:
        """Rows that do not fit into the context are counted and left out, as in training."""
        if not batch.rows:
            return
        lesson = self.talker.lesson(batch.rows, batch.clip)
        kept = len(batch.rows) - lesson.lost
        self.measure("lost_share", lesson.lost / len(batch.rows), len(batch.rows))
        if kept:
            reading = self.model(lesson.ids, lesson.mask, lesson.seen, lesson.labels)
            values = {
                "loss": reading.loss,
                "token_accuracy": reading.accuracy,
                "cut_tokens": lesson.cut / kept,
            }
            for name, value in values.items():
                self.measure(name, value, kept)
        self.measure_answers(batch)

    def measure_answers(self, batch: CaptionBatch) -> None:
        """Whether the right one is the likeliest of a row's options."""
        own = zip(batch.rows, shared_out(batch.rows, batch.clip), strict=True)
        asked = [(row, clips) for row, clips in own if row.options and not self.talker.misfit(row, clips)]
        rows, clips = [row for row, _ in asked], [clip for _, mine in asked for clip in mine]
        for row, score in zip(rows, self.talker.option_scores(rows, clips) if rows else [], strict=True):
            for name in ("accuracy", *([f"accuracy_{row.kind}"] if row.kind else [])):
                self.measure(name, float(row.options[score.index(max(score))] == row.answer), 1)

    def on_validation_epoch_end(self) -> None:
        """Means over the rows of all processes."""
        sums = torch.tensor(list(self.measured.values()), device=self.device)
        totals = self.trainer.strategy.reduce(sums, reduce_op="sum").tolist()
        means = {
            f"val/{name}": total / count
            for name, (total, count) in zip(self.measured, totals, strict=True)
            if count
        }
        self.log_dict(means, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Matrices and vectors of the projector, then, if it is trained, those of the language model."""
        optimizer = adamw(self.optim, self.model.projector)
        if self.language_lr is not None:
            for group in adamw(self.optim, self.model.language).param_groups:
                optimizer.add_param_group({"params": group["params"]})
        return optimizer

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None) -> None:
        step, groups = self.global_step + 1, optimizer.optimizer.param_groups
        rates = [self.optim.lr] * 2 + [self.language_lr] * (len(groups) - 2)
        for number, (group, rate) in enumerate(zip(groups, rates, strict=True)):
            group["lr"] = rate.at(step, self.total_steps)
            group["weight_decay"] = 0.0 if number % 2 else self.optim.weight_decay.at(step, self.total_steps)
        optimizer.step(closure=optimizer_closure)

    def train(self, mode: bool = True) -> "VLM":
        """Training mode for all but the encoder."""
        super().train(mode)
        if hasattr(self, "encoder"):
            self.encoder.eval()
        return self

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Only what is trained, and the projector's statistics: the rest is where it came from."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        trained |= {f"model.projector.{name}" for name, _ in self.model.projector.named_buffers()}
        checkpoint["state_dict"] = {
            key: value for key, value in checkpoint["state_dict"].items() if key in trained
        }
        checkpoint["counted"] = (self.drawn, self.cut, self.lost)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.drawn, self.cut, self.lost = checkpoint["counted"]
        checkpoint["state_dict"] = {**self.state_dict(), **checkpoint["state_dict"]}

    def on_train_end(self) -> None:
        if (
            self.language_lr is not None
            and self.trainer.is_global_zero
            and self.global_step >= self.total_steps
        ):
            save_language(
                self.model.language,
                self.talker.chat.tokenizer,
                Path(self.trainer.default_root_dir) / LANGUAGE,
            )

    def parts(self) -> dict[str, Part]:
        source, first = found(self.language_source()), found(self.first_language())
        trained, dtype = self.language_lr is not None, self.language_config.dtype
        language = {"source": source, "first": first, "dtype": dtype, "trained": trained}
        encoder = {"source": self.source, "weights": self.weights}
        return {"projector": projector_part(self.talker, encoder, language)}


if __name__ == "__main__":
    run(VLM, CaptionData)

"""The phases of language alignment: what a phase starts from, and what it trains (V-JEPA 2, section 7).

The first phase starts from a language model and a new projector. A later phase continues the one before it:

    start = PhaseStart(LanguageConfig(), init_from="runs/demo/align/model.safetensors")
    model = start.build_model(ProjectorConfig(), encoder, train_language=True)
"""

from dataclasses import replace
from pathlib import Path

from torch import nn

from vjepa.errors import UserError, require
from vjepa.language.alignment_file import LANGUAGE_FOLDER, find_export, read_alignment
from vjepa.language.caption_data import CaptionData
from vjepa.language.language_model import (
    LanguageConfig,
    embedding_std,
    has_adapter,
    load_language,
    resolve_source,
    save_language,
    unfreeze_language,
)
from vjepa.language.model import VisionLanguageModel
from vjepa.language.video_chat import VideoChat
from vjepa.models.encoder import Encoder
from vjepa.models.projector import Projector, ProjectorConfig
from vjepa.weights.export import whole_state
from vjepa.weights.files import load_strictly, weights_digest

EXAMPLES = 64
"""Conversations whose clips give the mean and the deviation of each channel of the encoder."""


class PhaseStart:
    """What a phase starts from.

    `source` is the language model that this phase starts from. It is the language model of the phase before
    if that phase trained it, else `first`, which is the language model of the first phase.

    Args:
        language: The recipe's language model. In a later phase its source may be left out.
        init_from: The export of the phase before, or its folder; None in the first phase.

    Raises UserError if the recipe names no language model, or another one than the first phase.
    """

    def __init__(self, language: LanguageConfig, init_from: str | None) -> None:
        self.language = language
        self.file = find_export(init_from) if init_from else None
        if self.file is None:
            given = language.source is not None
            require(given, "model.language.source is missing; name a folder or a hub's model")
            self.first = language.source
            self.source = self.first
            return

        # A trained language model lies beside the export. One that was not trained is not copied.
        before = read_alignment(self.file)[0].language
        # Exports of older versions name one language model only.
        self.first = before.first or before.source
        self.source = str(self.file.parent / LANGUAGE_FOLDER) if before.trained else self.first
        given = language.source
        if given is not None and resolve_source(given) != resolve_source(self.first):
            raise UserError(
                f"{init_from} was aligned with {self.first}, not with "
                f"model.language.source={given}; leave that out"
            )

    def build_model(
        self, config: ProjectorConfig, encoder: Encoder, train_language: bool
    ) -> VisionLanguageModel:
        """The language model, and a projector: new in the first phase, else that of the phase before."""
        language = trainable_language(replace(self.language, source=self.source), train_language)
        # A projector is new at first. Its outputs start at the size of words, which the model knows.
        words = language.get_input_embeddings().embedding_dim
        projector = Projector(config, encoder.config.width, words, embedding_std(language))
        if self.file is not None:
            load_projector(self.file, projector, encoder)
        return VisionLanguageModel(projector, language)

    def metadata(self, trained: bool) -> dict[str, object]:
        """The export's metadata about the language model. trained: whether this phase trained it."""
        return {
            "source": resolve_source(self.source),
            "first": resolve_source(self.first),
            "dtype": self.language.dtype,
            "trained": trained,
        }


def trainable_language(config: LanguageConfig, train: bool) -> nn.Module:
    """The language model at `config.source`. With `train`, its weights or those of its adapter get gradients.

    Raises UserError if all weights are to be trained beside an adapter.
    """
    language = load_language(config)
    if train:
        # A model with an adapter is saved as the adapter alone, so that other trained weights would be lost.
        saved = config.lora is not None or not has_adapter(language)
        only = f"{config.source} is an adapter, and only it would be saved"
        require(saved, f"{only}; give model.language.lora to train it")
        unfreeze_language(language, config.lora is not None)
    return language


def load_projector(file: Path, projector: Projector, encoder: Encoder) -> None:
    """Load the projector of the phase before from its export.

    Raises UserError if it was aligned with another encoder, or has another config.
    """
    alignment, state = read_alignment(file)
    # By digest and not by path: files move, and a stage that is trained anew keeps its path.
    if alignment.encoder.digest != weights_digest(encoder):
        source = alignment.encoder.source
        raise UserError(
            f"{file} was aligned with another encoder ({source}) than model.encoder; give it the same"
        )
    if alignment.config != projector.config:
        raise UserError(
            f"{file} holds a projector of {alignment.config}, not model.projector's {projector.config}"
        )
    load_strictly(projector, state, file)


def check_context(video_chat: VideoChat) -> None:
    """Raise UserError if a clip leaves no room for words in the context."""
    clip = video_chat.clip
    grid = video_chat.encoder.grid_of_size(clip.frames, clip.size, clip.size)
    tokens = video_chat.model.projector.token_count(grid)
    context = video_chat.chat.context
    require(tokens < context, f"a clip takes {tokens} tokens, all of model.context={context}; raise it")


def standardise_projector(video_chat: VideoChat, data: CaptionData) -> None:
    """Give a new projector the mean and the deviation of each channel of the encoder.

    The clips do not depend on the rank, so all processes start with the same projector.
    """
    clips = data.examples(EXAMPLES)
    # One at a time: all of them at once may not fit into memory.
    tokens = (video for clip in clips for video in video_chat.encode_clips([clip]))
    video_chat.model.projector.standardise(tokens)


def save_trained_language(video_chat: VideoChat, run: str | Path, writes: bool) -> None:
    """Save the language model, or its adapter, beside the export in the run's folder.

    Processes that share the weights out all call this, and one of them `writes`.
    """
    state = whole_state(video_chat.model.language, writes)
    if writes:
        folder = Path(run) / LANGUAGE_FOLDER
        save_language(video_chat.model.language, video_chat.chat.tokenizer, folder, state)

"""A frozen video encoder and a language model that reads its tokens, to be asked about a video.

    video_chat = VideoChat.load("runs/demo/vlm")
    video_chat.ask("clip.mp4", "Which way does the hand move?")

`alignment_file` says what the folder holds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from vjepa.errors import UserError, require
from vjepa.language.alignment_file import find_export, read_alignment
from vjepa.language.chat import Chat, Encoded
from vjepa.language.clip_tokens import encode_clips, split_by_row, token_grid
from vjepa.language.conversations import Conversation, Media, Turn
from vjepa.language.generation import stream_tokens
from vjepa.language.language_model import load_language, load_tokenizer
from vjepa.language.media import FrameConfig, decode_media
from vjepa.language.model import IGNORE, VisionLanguageModel, before_stop, pad
from vjepa.models.device import find_device
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.models.grid import Grid
from vjepa.models.projector import VideoTokens
from vjepa.weights.export import Part
from vjepa.weights.files import CheckpointError, weights_digest
from vjepa.weights.load import load_encoder


class TrainingBatch(NamedTuple):
    """Conversations to learn from, padded on the right."""

    ids: Int[Tensor, "b l"]
    mask: Int[Tensor, "b l"]
    clips: list[VideoTokens]
    labels: Int[Tensor, "b l"]
    cut: int
    """Tokens of text that did not fit into the context."""
    lost: int
    """Conversations left out, because no answer fits into the context."""
    why: str
    """Why the last of these was left out; empty if none was."""


class Prompts(NamedTuple):
    """Conversations that wait for an answer, padded on the left."""

    ids: Int[Tensor, "b l"]
    mask: Int[Tensor, "b l"]
    clips: list[VideoTokens]


class VideoChat:
    """Conversations about videos with a trained projector and language model.

    Methods take rows, and one list with the clips of all rows in turn. A clip is frames (t, c, h, w) uint8,
    or cached tokens (T, H W, d).

    Args:
        encoder: The frozen video encoder.
        model: Projector and language model.
        chat: Turns conversations into token ids, by the tokenizer's chat template.
        clip: How frames are taken from a video.

    `cut` counts the tokens of questions that did not fit into the context so far.
    """

    def __init__(self, encoder: Encoder, model: VisionLanguageModel, chat: Chat, clip: FrameConfig) -> None:
        self.encoder = encoder
        self.model = model
        self.chat = chat
        self.clip = clip
        self.cut = 0

        # More embeddings than tokens are common, since sizes are rounded up; fewer mean another tokenizer.
        tokens = max(chat.tokenizer.vocab_size, *chat.stop)
        embeddings = model.language.get_input_embeddings().num_embeddings
        require(
            tokens <= embeddings,
            f"the tokenizer has {tokens} tokens, its language model only {embeddings}; they are no pair",
        )

    @classmethod
    def load(cls, folder: str | Path, encoder: str | Path | None = None) -> "VideoChat":
        """The model in a folder of a finished vlm stage, or beside the `model.safetensors` that is given.

        encoder: its place, if it has moved since the alignment. Raises CheckpointError if it is another one.
        """
        file = find_export(folder)
        alignment, state = read_alignment(file)

        # The digest decides, not the path: the same encoder may lie anywhere.
        place = encoder or alignment.encoder.source
        frozen = freeze(load_encoder(place, alignment.encoder.weights))
        if weights_digest(frozen) != alignment.encoder.digest:
            raise CheckpointError(f"{file} was aligned with another encoder than {place}")

        language = alignment.language_config
        model = VisionLanguageModel(alignment.projector(state), load_language(language))
        chat = Chat(load_tokenizer(language.source), alignment.context)
        return cls(frozen, model.eval(), chat, alignment.clip)

    def projector_part(self, encoder: dict[str, str], language: dict[str, object]) -> Part:
        """The projector and what it was aligned with, to be exported; `load` reads it.

        encoder: source and weights. language: source, dtype, and whether it was trained and so lies beside
        the export.
        """
        projector = self.model.projector
        metadata = {
            "config": asdict(projector.config),
            "width": projector.width,
            "words": projector.mlp[2].out_features,  # width of the embeddings
            "clip": asdict(self.clip),
            "context": self.chat.context,
            "encoder": encoder | {"digest": weights_digest(self.encoder)},
            "language": language,
        }
        return Part(projector, metadata)

    def to(self, device: torch.device | str) -> "VideoChat":
        """Move the encoder and the model. Raises UserError if the device cannot be used."""
        device = find_device(str(device))
        self.encoder.to(device)
        self.model.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.model.projector.parameters()).device

    def ask(self, video: str | Path | None, question: str, limit: int = 128) -> str:
        """The answer, in at most `limit` tokens. Raises DecodeError if the video cannot be decoded.

        video: a video, an image, or None for a question without one.
        """
        return "".join(self.stream(video, question, limit)).strip()

    def stream(self, video: str | Path | None, question: str, limit: int = 128) -> Iterator[str]:
        """The answer of `ask`, piece by piece, as it is generated."""
        require(bool(question.strip()), "the question is empty")
        media = () if video is None else (Media(Path(video), None, None),)
        turns = (Turn("user", (*range(len(media)), question)), Turn("assistant", ("",)))
        clips = [decode_media(medium, self.clip) for medium in media]
        prompts = self.prompts([Conversation(media, turns)], clips)

        shown = ""
        ids: list[int] = []
        for token in stream_tokens(partial(self.model.generate, *prompts, self.chat.stop, limit)):
            ids.append(token)
            # Decode the whole answer each time: a single token may be a part of a letter.
            answer = before_stop(ids, self.chat.stop)
            text = self.chat.tokenizer.decode(answer, skip_special_tokens=True).lstrip()
            if text.endswith("\ufffd"):  # the last letter is not complete yet
                continue
            yield text[len(shown) :]
            shown = text

    def encode_clips(self, clips: Sequence[Tensor]) -> list[VideoTokens]:
        """The encoder's tokens of each clip."""
        return encode_clips(self.encoder, clips, self.device)

    def training_batch(self, rows: Sequence[Conversation], clips: Sequence[Tensor]) -> TrainingBatch:
        """Rows to learn from. Rows of which no answer fits into the context are left out.

        If that leaves none, the batch is a single token that is not learned: processes that train together
        have to compute together.
        """
        encoded: list[Encoded] = []
        tokens: list[VideoTokens] = []
        why = ""
        for row, row_clips in zip(rows, split_by_row(rows, self.encode_clips(clips)), strict=True):
            try:
                encoded.append(self.chat.encode(row.turns, self.sizes(clip.grid for clip in row_clips)))
                tokens += row_clips
            except UserError as error:
                why = str(error)

        ids, mask = pad([row.ids for row in encoded] or [[self.chat.padding]], self.chat.padding, "right")
        labels, _ = pad([row.labels for row in encoded] or [[IGNORE]], IGNORE, "right")
        return TrainingBatch(
            ids.to(self.device),
            mask.to(self.device),
            tokens,
            labels.to(self.device),
            cut=sum(row.cut for row in encoded),
            lost=len(rows) - len(encoded),
            why=why,
        )

    def prompts(self, rows: Sequence[Conversation], clips: Sequence[Tensor]) -> Prompts:
        """Rows up to their last answer. Raises UserError for one that does not fit into the context."""
        by_row = split_by_row(rows, clips)
        encoded = [self.encode_prompt(row, row_clips) for row, row_clips in zip(rows, by_row, strict=True)]
        self.cut += sum(prompt.cut for prompt in encoded)
        # Padded on the left, all prompts end in the same column, where their answers begin.
        ids, mask = pad([prompt.ids for prompt in encoded], self.chat.padding, "left")
        return Prompts(ids.to(self.device), mask.to(self.device), self.encode_clips(clips))

    def encode_prompt(self, row: Conversation, clips: Sequence[Tensor]) -> Encoded:
        """Token ids of a row up to its last answer. Raises UserError if they do not fit into the context."""
        sizes = self.sizes(token_grid(self.encoder, clip) for clip in clips)
        return self.chat.encode_prompt(row.turns[:-1], sizes)

    def fits(self, row: Conversation, clips: Sequence[Tensor]) -> bool:
        """Whether a row's question and its clips fit into the context."""
        try:
            self.encode_prompt(row, clips)
        except UserError:
            return False
        return True

    def sizes(self, grids: Iterable[Grid]) -> list[int]:
        """How many tokens of the language model each clip takes."""
        return [self.model.projector.token_count(grid) for grid in grids]

    def option_scores(self, rows: Sequence[Conversation], clips: Sequence[Tensor]) -> list[list[float]]:
        """Log-likelihood of each of a row's options as its answer, the end of the answer included."""
        options = [[self.chat.encode_answer(option) for option in row.options] for row in rows]
        most = max(map(len, options))
        # Rows with fewer options repeat their first one; the scores of the copies are dropped.
        filled = [own + [own[0]] * (most - len(own)) for own in options]
        padded, _ = pad([option for own in filled for option in own], IGNORE, "right")
        padded = padded.view(len(rows), most, -1).to(self.device)
        scores = self.model.option_scores(*self.prompts(rows, clips), padded).tolist()
        return [score[: len(own)] for score, own in zip(scores, options, strict=True)]

    def answers(self, rows: Sequence[Conversation], clips: Sequence[Tensor], limit: int = 32) -> list[str]:
        """The answer to each row's last question; empty for a row that does not fit into the context."""
        by_row = split_by_row(rows, clips)
        fitting = [i for i, row in enumerate(rows) if self.fits(row, by_row[i])]
        texts = [""] * len(rows)
        if not fitting:
            return texts

        prompts = self.prompts([rows[i] for i in fitting], [clip for i in fitting for clip in by_row[i]])
        for i, ids in zip(fitting, self.model.answers(*prompts, self.chat.stop, limit), strict=True):
            texts[i] = self.chat.decode(ids)
        return texts

"""A frozen video encoder and a language model that is shown its tokens, put together to answer questions.

    talker = VideoChat.load("runs/demo/vlm")
    talker.ask("clip.mp4", "Which way does the hand move?")

A folder holds `model.safetensors` (the projector, and what it was aligned with), and `language/` (the language model or its
adapter, with its tokenizer) if that was trained too. The encoder is named, with a digest of its weights, not copied.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from math import isqrt
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from vjepa.data.transforms import normalise
from vjepa.errors import UserError, require
from vjepa.language.chat import Chat, Encoded
from vjepa.language.conversations import Conversation, Media, Turn
from vjepa.language.language_model import LanguageConfig, load_language, load_tokenizer
from vjepa.language.media import FrameConfig, frames_of
from vjepa.language.model import IGNORE, VisionLanguageModel, pad, up_to
from vjepa.models.encoder import Encoder
from vjepa.models.frozen import freeze
from vjepa.models.grid import Grid
from vjepa.models.projector import Projector, ProjectorConfig, VideoTokens
from vjepa.weights.export import Part, read_export
from vjepa.weights.files import CheckpointError, strictly
from vjepa.weights.load import load_encoder

Shown = TypeVar("Shown")  # a clip, or what was seen of it

LANGUAGE = "language"
"""The language model's place in a folder."""


class TrainingBatch(NamedTuple):
    """Conversations to learn from, padded on the right; how many tokens of text were cut, conversations left out, and why the
    last of these was."""

    ids: Tensor
    mask: Tensor
    seen: list[VideoTokens]
    labels: Tensor
    cut: int
    lost: int
    why: str


class Prompts(NamedTuple):
    """Conversations to go on with, padded on the left."""

    ids: Tensor
    mask: Tensor
    seen: list[VideoTokens]


class VideoChat:
    """
    Args:
        encoder: Frozen.
        model: Projector and language model.
        chat: How its conversations are worded.
        clip: How a video is shown.

    `cut` counts the tokens of questions that did not fit into the context so far.
    """

    def __init__(self, encoder: Encoder, model: VisionLanguageModel, chat: Chat, clip: FrameConfig) -> None:
        self.encoder, self.model, self.chat, self.clip = encoder, model, chat, clip
        self.cut = 0
        tokens, words = (
            max(chat.tokenizer.vocab_size, *chat.stop),
            model.language.get_input_embeddings().num_embeddings,
        )
        require(
            tokens <= words,
            f"the tokenizer has {tokens} tokens, its language model only {words}; they are no pair",
        )

    @classmethod
    def load(cls, folder: str | Path, encoder: str | Path | None = None) -> "VideoChat":
        """The model in a folder, or beside the `model.safetensors` that is given.

        encoder: where the encoder is now, if not where it was. Raises CheckpointError if it is another one.
        """
        file = export_in(folder)
        about, state = read_export(file, "projector")
        frozen = freeze(load_encoder(encoder or about["encoder"]["source"], about["encoder"]["weights"]))
        if weights_digest(frozen) != about["encoder"]["digest"]:
            raise CheckpointError(
                f"{file} was aligned with another encoder than {encoder or about['encoder']['source']}"
            )
        source = str(file.parent / LANGUAGE) if about["language"]["trained"] else about["language"]["source"]
        projector = Projector(ProjectorConfig(**tuples(about["config"])), about["width"], about["words"])
        language = load_language(LanguageConfig(source, about["language"]["dtype"]))
        chat = Chat(load_tokenizer(source), about["context"])
        model = VisionLanguageModel(strictly(projector, state, file), language).eval()
        return cls(frozen, model, chat, FrameConfig(**about["clip"]))

    def to(self, device: torch.device | str) -> "VideoChat":
        """Raises UserError for a device that is not there."""
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise UserError(f"device={device} cannot be used: {str(error).splitlines()[0]}") from error
        self.encoder.to(device)
        self.model.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.model.projector.parameters()).device

    # -- a user's questions

    def ask(self, video: str | Path | None, question: str, limit: int = 128) -> str:
        """The answer, in at most `limit` tokens; `video` may be a picture, or nothing. Raises DecodeError."""
        return "".join(self.stream(video, question, limit)).strip()

    def stream(self, video: str | Path | None, question: str, limit: int = 128) -> Iterator[str]:
        """The answer piece by piece, as it is found."""
        require(bool(question.strip()), "the question is empty")
        media = () if video is None else (Media(Path(video), None, None),)
        row = Conversation(media, (Turn("user", (*range(len(media)), question)), Turn("assistant", ("",))))
        prompts = self.prompts([row], [frames_of(one, self.clip) for one in media])
        told, ids = "", []
        for token in self.model.generate(*prompts, self.chat.stop, limit):
            ids += token.tolist()
            text = self.chat.tokenizer.decode(up_to(ids, self.chat.stop), skip_special_tokens=True).lstrip()
            if not text.endswith("\ufffd"):  # half of a letter of several bytes
                yield text[len(told) :]
                told = text

    # -- batches of conversations; the clips are those of all rows in turn

    @torch.no_grad()
    def see(self, clips: Sequence[Tensor]) -> list[VideoTokens]:
        """The encoder's tokens: of frames (t, c, h, w) uint8, equally large ones together; what is tokens already stays."""
        seen: dict[int, VideoTokens] = {}
        for shape in dict.fromkeys((clip.shape, clip.dtype) for clip in clips):
            which = [i for i, clip in enumerate(clips) if (clip.shape, clip.dtype) == shape]
            batch = torch.stack([clips[i] for i in which]).to(self.device)
            seen |= zip(which, self.encoded(batch), strict=True)
        return [seen[i] for i in range(len(clips))]

    def encoded(self, batch: Tensor) -> list[VideoTokens]:
        grid = self.grid(batch[0])
        if batch.dtype != torch.uint8:
            return [VideoTokens(tokens.flatten(0, 1), grid) for tokens in batch]
        clip = normalise(batch)
        if clip.shape[2] == 1:
            clip = clip.expand(-1, -1, self.encoder.config.tubelet, -1, -1)
        return [VideoTokens(tokens, grid) for tokens in self.encoder(clip)]

    def grid(self, clip: Tensor) -> Grid:
        """Of a clip's tokens: frames (t, c, h, w) uint8, of which one alone is repeated, or tokens (T, H W, d)."""
        if clip.dtype != torch.uint8:
            return (clip.shape[0], isqrt(clip.shape[1]), isqrt(clip.shape[1]))
        t, c, h, w = clip.shape
        return self.encoder.grid(
            torch.empty(1, c, self.encoder.config.tubelet if t == 1 else t, h, w, device="meta")
        )

    def lesson(self, rows: Sequence[Conversation], clips: Sequence[Tensor]) -> TrainingBatch:
        """Rows that have no answer left within the context are left out, perhaps all of them."""
        kept, seen, why = [], [], ""
        for row, mine in zip(rows, shared_out(rows, self.see(clips)), strict=True):
            try:
                kept.append(self.chat.encode(row.turns, self.sizes(clip.grid for clip in mine)))
                seen += mine
            except UserError as error:
                why = str(error)
        ids, mask = pad([encoded.ids for encoded in kept], self.chat.padding, "right")
        labels, _ = pad([encoded.labels for encoded in kept], IGNORE, "right")
        where, cut = self.device, sum(encoded.cut for encoded in kept)
        return TrainingBatch(
            ids.to(where), mask.to(where), seen, labels.to(where), cut, len(rows) - len(kept), why
        )

    def prompts(self, rows: Sequence[Conversation], clips: Sequence[Tensor]) -> Prompts:
        """Rows up to their last answer. Raises UserError for one that does not fit into the context."""
        asked = [self.asked(row, mine) for row, mine in zip(rows, shared_out(rows, clips), strict=True)]
        self.cut += sum(encoded.cut for encoded in asked)
        ids, mask = pad([encoded.ids for encoded in asked], self.chat.padding, "left")
        return Prompts(ids.to(self.device), mask.to(self.device), self.see(clips))

    def asked(self, row: Conversation, clips: Sequence[Tensor]) -> Encoded:
        return self.chat.prompt(row.turns[:-1], self.sizes(map(self.grid, clips)))

    def misfit(self, row: Conversation, clips: Sequence[Tensor]) -> str:
        """Why a question and its clips cannot be asked, such as that they do not fit into the context; nothing if they can."""
        try:
            self.asked(row, clips)
        except UserError as error:
            return str(error)
        return ""

    def sizes(self, grids: Iterable[Grid]) -> list[int]:
        return [self.model.projector.size(grid) for grid in grids]

    def option_scores(self, rows: Sequence[Conversation], clips: Sequence[Tensor]) -> list[list[float]]:
        """Log-likelihood of each row's options as its answer, the end of the answer included."""
        texts = [[self.chat.answer(option) for option in row.options] for row in rows]
        most = max(map(len, texts))
        filled = [[*options, *[options[0]] * (most - len(options))] for options in texts]
        padded, _ = pad([option for options in filled for option in options], IGNORE, "right")
        scores = self.model.option_scores(
            *self.prompts(rows, clips), padded.view(len(rows), most, -1).to(self.device)
        )
        return [score[: len(options)] for score, options in zip(scores.tolist(), texts, strict=True)]

    def answers(self, rows: Sequence[Conversation], clips: Sequence[Tensor], limit: int = 32) -> list[str]:
        """What is said to each row's last question; nothing to one that does not fit into the context."""
        own = shared_out(rows, clips)
        can = [i for i, row in enumerate(rows) if not self.misfit(row, own[i])]
        prompts = (
            self.prompts([rows[i] for i in can], [clip for i in can for clip in own[i]]) if can else None
        )
        said = (
            dict(zip(can, self.model.answers(*prompts, self.chat.stop, limit), strict=True))
            if prompts
            else {}
        )
        return [self.chat.decode(said.get(i, [])) for i in range(len(rows))]


def shared_out(rows: Sequence[Conversation], seen: Sequence[Shown]) -> list[list[Shown]]:
    """Each row's own of the media of all rows."""
    counts = [len(row.media) for row in rows]
    require(sum(counts) == len(seen), f"the rows have {sum(counts)} media, but {len(seen)} clips were given")
    left = iter(seen)
    return [[next(left) for _ in range(count)] for count in counts]


def export_in(folder: str | Path) -> Path:
    """The export in a folder, or the export itself. Raises CheckpointError if there is none."""
    given = Path(folder)
    file = given / "model.safetensors" if given.is_dir() else given
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; give the folder of a finished vlm stage")
    return file


def weights_digest(encoder: Encoder) -> str:
    """The first twelve hexadecimal digits of a SHA-256 of all weights, wherever they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:12]


def projector_part(talker: VideoChat, encoder: dict[str, str], language: dict[str, object]) -> Part:
    """encoder: source and weights; language: source, dtype and whether it was trained, so that it lies beside the export."""
    projector = talker.model.projector
    about = {
        "config": asdict(projector.config),
        "width": projector.width,
        "words": projector.mlp[2].out_features,
        "clip": asdict(talker.clip),
        "context": talker.chat.context,
        "encoder": encoder | {"digest": weights_digest(talker.encoder)},
        "language": language,
    }
    return Part(projector, about)


def tuples(config: dict) -> dict:
    """JSON knows no tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}

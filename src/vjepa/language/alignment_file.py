"""The file that a vlm stage writes: a trained projector, and the names of the models it was aligned with.

    alignment, state = read_alignment(find_export("runs/demo/vlm"))

A folder holds `model.safetensors` and, if the language model was trained too, `language/` with that model (or
its adapter) and its tokenizer. The encoder is not copied: the metadata names it and holds a digest of its
weights.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vjepa.errors import require
from vjepa.language.language_model import LanguageConfig
from vjepa.language.media import FrameConfig
from vjepa.language.model_folder import check_is_here
from vjepa.models.projector import Projector, ProjectorConfig
from vjepa.weights.build import build
from vjepa.weights.export import read_export
from vjepa.weights.facts import MOST_FRAMES, MOST_SIZE
from vjepa.weights.files import CheckpointError, State, as_checkpoint_error
from vjepa.weights.settings import settings

LANGUAGE_FOLDER = "language"
"""Name of the language model's folder, beside `model.safetensors`."""


@dataclass(frozen=True)
class AlignedEncoder:
    """The encoder whose tokens a projector reads."""

    source: str
    digest: str
    weights: Literal["ema", "student"] = "ema"


@dataclass(frozen=True)
class AlignedLanguage:
    """The language model for which a projector writes."""

    source: str
    dtype: Literal["float32", "bfloat16"]
    trained: bool
    """Whether the phase trained it, so that it lies beside the export."""
    first: str | None = None
    """The language model of the first phase. Exports of older versions name one model only."""


@dataclass(frozen=True)
class Alignment:
    """What an export says of its projector. `VideoChat.projector_part` writes it."""

    config: ProjectorConfig
    width: int
    """Width of the encoder's tokens."""
    words: int
    """Width of the language model's embeddings."""
    clip: FrameConfig
    context: int
    encoder: AlignedEncoder
    language: AlignedLanguage
    file: Path

    @property
    def language_config(self) -> LanguageConfig:
        """The language model to load. Raises UserError if it is not on this machine."""
        beside = str(self.file.parent / LANGUAGE_FOLDER)
        source = beside if self.language.trained else self.language.source
        check_is_here(source, self.file)
        return LanguageConfig(source, self.language.dtype)

    def projector(self, state: State) -> Projector:
        """The trained projector. Raises CheckpointError if the tensors do not fit the settings."""
        return build(Projector, self.config, self.width, self.words, state=state, source=self.file)


def find_export(folder: str | Path) -> Path:
    """Path of the `model.safetensors` in a folder, or the given file itself.

    Raises CheckpointError if there is none.
    """
    path = Path(folder)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; give the folder of a finished vlm stage")
    return file


@as_checkpoint_error
def read_alignment(file: str | Path) -> tuple[Alignment, State]:
    """What an export says of its projector, and the projector's tensors.

    Raises CheckpointError if it holds none, or says something that cannot be.
    """
    description, state = read_export(Path(file), "projector")
    parts = {"config": ProjectorConfig, "clip": FrameConfig}
    parts |= {"encoder": AlignedEncoder, "language": AlignedLanguage}
    known = {name: settings(kind, description[name]) for name, kind in parts.items()}
    alignment = settings(Alignment, {**description, **known, "file": Path(file)})
    clip = alignment.clip
    require(clip.frames <= MOST_FRAMES and clip.size <= MOST_SIZE, f"clips of {clip}")
    return alignment, state

"""The file that a vlm stage writes: a trained projector, and the names of the models it was aligned with.

A folder holds `model.safetensors` and, if the language model was trained too, `language/` with that model (or
its adapter) and its tokenizer. The encoder is not copied: the metadata names it and holds a digest of its
weights.
"""

from pathlib import Path

from vjepa.models.projector import ProjectorConfig
from vjepa.weights.files import CheckpointError

LANGUAGE_FOLDER = "language"
"""Name of the language model's folder, beside `model.safetensors`."""


def find_export(folder: str | Path) -> Path:
    """Path of the `model.safetensors` in a folder, or the given file itself.

    Raises CheckpointError if there is none.
    """
    path = Path(folder)
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"{file} does not exist; give the folder of a finished vlm stage")
    return file


def projector_config(metadata: dict) -> ProjectorConfig:
    """The projector's config from the metadata of an export."""
    # JSON has no tuples; they come back as lists.
    fields = {
        key: tuple(value) if isinstance(value, list) else value for key, value in metadata["config"].items()
    }
    return ProjectorConfig(**fields)

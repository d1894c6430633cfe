"""The weights in the box: the file of trained weights inside the package, whose source name is `demo`.

    encoder = load_encoder("demo")

They are the demo's: a small encoder, its predictors and a probe, trained on a simulated robot arm. They show
what the commands do, before anything is trained.
"""

from pathlib import Path

BOX = "demo"
"""The name by which every command and call takes these weights."""
BOX_NOTE = "demo (in the package; a simulated robot arm, 0.2M parameters)"
"""What an output that used them calls them."""


def box_path() -> Path:
    """Where the file is, or would be."""
    return Path(__file__).with_name("demo.safetensors")


def is_box(source: str | Path) -> bool:
    """Whether a source means these weights, and not a file or folder of weights named `demo`."""
    path = Path(source)
    if path == box_path():
        return True
    return str(source) == BOX and not path.is_file() and not holds_weights(path)


def holds_weights(folder: Path) -> bool:
    """Whether a folder holds weights: of a Hugging Face model, of a stage, or of a run's stages."""
    names = ("config.json", "model.safetensors", "*/model.safetensors", "*.ckpt")
    return folder.is_dir() and any(next(folder.glob(name), None) for name in names)

"""The folder of a run: which recipe it belongs to, where training continues, and when it is finished.

It holds `config.yaml` (the resolved recipe), `commit.txt`, `checkpoints/` and the events of TensorBoard. The
last file to be written is `model.safetensors`, so its existence means that the stage is done. A folder
belongs to one recipe.
"""

import subprocess
from importlib.metadata import version
from pathlib import Path

import yaml

from vjepa.errors import UserError
from vjepa.training.moved import current_names
from vjepa.weights.checkpoints import checkpoint_in, newest_checkpoint
from vjepa.weights.files import digest

NO_EFFECT = (
    *("config", "out", "ckpt_path", "weights_only", "data.workers"),
    *("licence", "model.scales"),  # an export names them; nothing is trained with them
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
)
"""Settings that may differ between a run and its continuation without changing a single weight."""


class RunFolder:
    """Names, reads and writes the files of a run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.export = self.path / "model.safetensors"

    def newest_checkpoint(self) -> Path | None:
        return newest_checkpoint(self.checkpoints)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step={step}.ckpt"

    def check_recipe(self, recipe: dict) -> None:
        """Raise UserError if this folder holds a run of another recipe; the error names the differences."""
        # Without a checkpoint or an export there is nothing yet that another recipe could spoil.
        if not self.recipe.exists() or not (self.newest_checkpoint() or self.export.exists()):
            return
        changed = differences(current_names(yaml.safe_load(self.recipe.read_text())), recipe)
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise UserError(
                f"{self.path} holds a run of another recipe ({'; '.join(changed[:3])}{more}); "
                "choose another --out (RUN= with make, --run with vjepa fit), "
                "or remove that folder to train anew"
            )

    def write_recipe(self, recipe: dict) -> None:
        """Write the recipe and the commit into the folder. Raises UserError if it cannot be made."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {self.path} cannot be a folder: {error.strerror}") from error
        self.recipe.write_text(yaml.safe_dump(recipe, sort_keys=False))
        (self.path / "commit.txt").write_text(commit() + "\n")


def step_of(checkpoint: Path) -> int:
    """The optimiser step after which a `step=N.ckpt` was written."""
    return int(checkpoint.stem.removeprefix("step="))


def digests(model: dict) -> dict[str, str]:
    """Digests of the files that a stage starts from. They change when an earlier stage is trained again."""
    # Strings are files of another stage; `encoder` may also be the settings of a new network.
    sources = {key: model.get(key) for key in ("init_from", "encoder")}
    return {key: digest_of(source) for key, source in sources.items() if isinstance(source, str)}


def digest_of(source: str) -> str:
    """The digest of the file that `source` leads to; `folder` for a Hugging Face directory."""
    path = checkpoint_in(source)
    return "folder" if path.is_dir() else digest(path)


def commit() -> str:
    """The commit of this code, with `-dirty` for changes since; its version outside its repository."""
    try:
        # The package may be installed inside a repository of the user's, whose commit says nothing of it.
        ours = git("ls-files", Path(__file__).name)
        described = git("describe", "--always", "--dirty") if ours else ""
    except OSError:  # git is not installed
        described = ""
    return described or version("vjepa")


def git(*words: str) -> str:
    """What git prints in the folder of this file; nothing where there is no repository."""
    folder = Path(__file__).parent
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def differences(recorded: dict, recipe: dict) -> list[str]:
    """`key: old value -> new value` for each setting that differs and has an effect on the run."""
    old = flat(recorded)
    new = flat(recipe)
    keys = [key for key in sorted(old.keys() | new.keys()) if not key.startswith(NO_EFFECT)]
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]


def flat(tree: dict | list, prefix: str = "") -> dict[str, object]:
    """Nested settings as `a.b.0.c: value`."""
    # An empty list or dictionary is a value, because it has no key of its own below it.
    settings: dict[str, object] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        nested = isinstance(value, dict | list) and value
        settings |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return settings

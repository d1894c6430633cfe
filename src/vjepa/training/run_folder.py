"""The folder of a run: which recipe it belongs to, where training continues, and when it is finished.

It holds `config.yaml` (the resolved recipe), `inputs.json` (stage, digests of weights and data),
`commit.txt`, `checkpoints/` and the events of TensorBoard. The last file to be written is
`model.safetensors`, so its existence means that the stage is done. A folder belongs to one recipe.
"""

import subprocess
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

import yaml

from vjepa.data.storage import is_address
from vjepa.drawing.outputs import complete_file
from vjepa.errors import UserError, announce, require
from vjepa.training.moved import current_names
from vjepa.training.run_inputs import RunInputs, read_recipe
from vjepa.weights.box import is_box
from vjepa.weights.checkpoints import FOLDER, checkpoint_files, newest_checkpoint, resumable_step
from vjepa.weights.hub_name import hub_name

NO_EFFECT = (
    *("config", "out", "ckpt_path", "weights_only", "checkpoint.", "data.workers", "data.max_bad_share"),
    # The machine, and how the samples of a step are cut: `machine` compares their product.
    *("data.batch_size", "trainer.devices", "trainer.num_nodes", "trainer.accumulate_grad_batches"),
    *("trainer.accelerator", "trainer.strategy", "trainer.precision", "trainer.plugins"),
    *("trainer.benchmark", "trainer.deterministic", "trainer.inference_mode"),
    *("model.activation_checkpointing", "model.cache_bytes"),
    *("data.timeout", "data.storage.", "model.alarm.", "spike"),
    *("licence", "model.scales"),  # an export names them; nothing is trained with them
    *("trainer.enable_", "trainer.log_every_n_steps", "trainer.logger", "trainer.profiler"),
    *("trainer.max_time", "trainer.default_root_dir", "trainer.detect_anomaly"),
    *("trainer.val_check_interval", "trainer.check_val_every_n_epoch"),
    *("trainer.limit_val_batches", "trainer.limit_test_batches", "trainer.num_sanity_val_steps"),
    "digest",  # of weights, which recipes held up to version 0.2; `run_inputs` compares them
)
"""Settings that may differ between a run and its continuation without changing a single weight."""
WATCHING = (
    *("vjepa.training.", "vjepa.language.sample_answers.", "lightning.pytorch.callbacks.LearningRateMonitor"),
    *("lightning.pytorch.callbacks.DeviceStatsMonitor", "lightning.pytorch.callbacks.ModelCheckpoint"),
    *("lightning.pytorch.callbacks.ModelSummary", "lightning.pytorch.callbacks.RichModelSummary"),
    *("lightning.pytorch.callbacks.TQDMProgressBar", "lightning.pytorch.callbacks.RichProgressBar"),
)
"""Callbacks that change no weight, so that they may come and go."""


class RunFolder:
    """Names, reads and writes the files of a run.

    stage: The stage whose run it shall be; None if any may.
    """

    def __init__(self, path: str | Path, stage: str | None = None) -> None:
        self.path = Path(path)
        self.stage = stage
        self.recipe = self.path / "config.yaml"
        self.checkpoints = self.path / FOLDER
        self.export = self.path / "model.safetensors"

    @property
    def inputs(self) -> RunInputs:
        return RunInputs(self.path, self.stage)

    @property
    def is_begun(self) -> bool:
        """Whether there is a checkpoint or an export, which another recipe or other data would spoil."""
        return self.export.exists() or bool(checkpoint_files(self.checkpoints))

    @property
    def model_settings(self) -> dict:
        """The settings of `model` in the recipe, as it was written."""
        return read_recipe(self.recipe).get("model") or {}

    def newest_checkpoint(self) -> Path | None:
        return newest_checkpoint(self.checkpoints)

    def checkpoint(self, step: int) -> Path:
        """Where the stage itself keeps a step; checkpoints of the recipe's own may have any name."""
        return self.checkpoints / f"step={step}.ckpt"

    def keeps(self, step: int) -> bool:
        """Whether a run can continue from this step, whatever the name of its checkpoint."""
        return step in map(resumable_step, checkpoint_files(self.checkpoints))

    def read_recipe(self) -> dict:
        """The recipe of this run, with today's names. Raises UserError if it is missing or damaged."""
        require(
            self.recipe.exists(),
            f"{self.path} holds a run without its config.yaml, so nothing tells its recipe; put it back, or "
            "choose another --out",
        )
        return current_names(read_recipe(self.recipe))

    def check_recipe(self, recipe: dict) -> None:
        """Raise UserError if this folder holds a run of another stage or recipe, and name what differs."""
        if not self.is_begun:
            return
        recorded = self.read_recipe()
        self.inputs.check_stage()
        if not self.inputs.file.exists() and "digest" not in recorded:
            announce(f"{self.path} has no inputs.json, so nothing tells whether its data are still the same")
        changed = differences(recorded, recipe, self.inputs.places)
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise UserError(
                f"{self.path} holds a run of another recipe ({'; '.join(changed[:3])}{more}); "
                "choose another --out (RUN= with make, --run with vjepa fit), "
                "or remove that folder to train anew"
            )

    def has_moved_data(self, recipe: dict) -> bool:
        """Whether the recipe names another place of data whose content is recorded."""
        old = flat(self.read_recipe())
        new = flat(recipe)
        places = [key for key in self.inputs.places if key.startswith("data.")]
        return any(old.get(key) != new.get(key) for key in places)

    def write_recipe(self, recipe: dict) -> None:
        """Write the recipe and the commit into the folder."""
        with complete_file(self.path / "commit.txt") as unfinished:
            unfinished.write_text(commit() + "\n")
        with complete_file(self.recipe) as unfinished:
            unfinished.write_text(yaml.safe_dump(recipe, sort_keys=False))


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


def differences(recorded: dict, recipe: dict, places: Collection[str] = ()) -> list[str]:
    """`key: old value -> new value` for each setting that differs and has an effect on the run.

    places: Settings that name a file or folder, whose content is compared instead.
    """
    old = in_steps(flat(without_watching(recorded)))
    new = in_steps(flat(without_watching(recipe)))
    keys = [key for key in sorted(old.keys() | new.keys()) if not key.startswith(NO_EFFECT)]
    # A setting that the record lacks came with a newer version, and changes nothing where it is off.
    came = {key for key, value in new.items() if key not in old and is_off(value)}
    changed = [key for key in keys if old.get(key) != new.get(key) and key not in came]
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in changed
        if not (key in places and old.get(key) and is_there(new.get(key)))
    ]


def is_off(value: object) -> bool:
    """Whether a setting is not used; 0 is a value like others."""
    return value is None or value is False or value in ([], {})


def in_steps(settings: dict[str, object]) -> dict[str, object]:
    """The settings, with those that count batches in optimiser steps."""
    batches = settings.get("trainer.accumulate_grad_batches") or 1
    counts = ("trainer.limit_train_batches", "trainer.overfit_batches")
    counted = {key: settings[key] for key in counts if isinstance(settings.get(key), int)}
    rest = {key: value for key, value in settings.items() if key not in counted}
    return rest | {f"{key}, in steps": value / batches for key, value in counted.items()}


def is_there(place: object) -> bool:
    """Whether there is a file or folder whose content can be compared."""
    if not isinstance(place, str):
        return False
    return is_box(place) or is_address(place) or Path(place).exists() or hub_name(place) is not None


def without_watching(recipe: dict) -> dict:
    """The recipe without the callbacks that change no weight."""
    trainer = recipe.get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, dict) else None
    if not isinstance(callbacks, list):
        return recipe
    paths = [callback["class_path"] if isinstance(callback, dict) else callback for callback in callbacks]
    acting = [callbacks[i] for i, path in enumerate(paths) if not str(path).startswith(WATCHING)]
    return recipe | {"trainer": trainer | {"callbacks": acting or None}}


def flat(tree: dict | list, prefix: str = "") -> dict[str, object]:
    """Nested settings as `a.b.0.c: value`."""
    # An empty list or dictionary is a value, because it has no key of its own below it.
    settings: dict[str, object] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        nested = isinstance(value, dict | list) and value
        settings |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return settings

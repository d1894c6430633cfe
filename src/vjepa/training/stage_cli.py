"""One command line for every stage: LightningCLI with typed configs, and the rules of a run's folder.

Where training starts, in this order:

1. resume: `<out>/checkpoints` holds a checkpoint of this very recipe, which continues to the bit;
2. another run's weights: `model.init_from`;
3. scratch.

A finished stage is not run again, and a folder belongs to one recipe: a changed one is refused by name of what changed.
"""

import inspect
import logging
import subprocess
import sys
import warnings
from pathlib import Path

import lightning as L
import torch
import yaml
from jsonargparse import set_parsing_settings
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.model_helpers import is_overridden

from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder
from vjepa.models.grid import Grid
from vjepa.training.monitors import DataHealth, OptimizerMonitor, SpeedMonitor, StopOnSignal
from vjepa.weights.checkpoints import checkpoint_in, newest_checkpoint
from vjepa.weights.export import export
from vjepa.weights.files import digest

EXPORT = "model.safetensors"
# Settings that may differ between a run and its continuation without changing a single weight.
NO_EFFECT = (
    *("config", "out", "ckpt_path", "weights_only", "data.workers"),
    *("trainer.enable_progress_bar", "trainer.enable_model_summary"),
)


class StageCLI(LightningCLI):
    """Adds `--out`, the checkpoints' settings, the monitors, and the rules above."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        out = f"runs/demo/{stage_name(self._model_class)}"
        parser.add_argument(
            "--out", type=str, default=out, help="Folder of this run: checkpoints, TensorBoard, export."
        )
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.filename": "{step}", "checkpoint.enable_version_counter": False})
        # Our loaders know their rank; Lightning's table of modules counts no operation inside our steps.
        parser.set_defaults({"trainer.use_distributed_sampler": False, "trainer.enable_model_summary": False})
        parser.link_arguments("out", "checkpoint.dirpath", compute_fn=checkpoint_folder)
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}

    @property
    def settings(self) -> dict:
        return self.config[self.subcommand]

    @property
    def out(self) -> Path:
        return Path(self.settings.out)

    def before_instantiate_classes(self) -> None:
        """A fit claims its folder and continues there; the other commands read its newest checkpoint."""
        if self.subcommand == "fit":
            if self.settings.ckpt_path:
                raise UserError(
                    "fit resumes by itself; to start from other weights give --model.init_from, not --ckpt_path"
                )
            self.claim_folder()
        self.settings.weights_only = True
        if self.settings.trainer.precision is None:
            self.settings.trainer.precision = "bf16-mixed" if bf16_is_native() else "32-true"
        self.resumed = self.newest()
        if self.resumed and not self.settings.ckpt_path:
            self.settings.ckpt_path = str(self.resumed)
            doing = "continuing after" if self.subcommand == "fit" else "looking at"
            print(f"{self.out}: {doing} step {step_of(self.resumed)}")

    def claim_folder(self) -> None:
        """Leave if this recipe is finished here; refuse if the folder holds another one; else write ours down."""
        claimed, recipe = self.out / "config.yaml", self.recipe()
        if claimed.exists() and (self.newest() or (self.out / EXPORT).exists()):
            self.check_unchanged(yaml.safe_load(claimed.read_text()), recipe)
        if (self.out / EXPORT).exists():
            (self.out / EXPORT).touch()  # newer than its YAML again, so that make knows too
            print(f"{self.out} is finished, nothing to do")
            raise SystemExit(0)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {self.out} cannot be a folder: {error.strerror}") from error
        claimed.write_text(yaml.safe_dump(recipe, sort_keys=False))
        (self.out / "commit.txt").write_text(commit() + "\n")

    def newest(self) -> Path | None:
        return newest_checkpoint(Path(checkpoint_folder(self.out)))

    def check_unchanged(self, known: dict, recipe: dict) -> None:
        old, new = flat(known), flat(recipe)
        keys = [key for key in sorted(old.keys() | new.keys()) if not key.startswith(NO_EFFECT)]
        changed = [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys if old.get(key) != new.get(key)]
        if changed:
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise UserError(
                f"{self.out} holds a run of another recipe ({'; '.join(changed[:3])}{more}); "
                "choose another RUN= (--out), or remove that folder to train anew"
            )

    def recipe(self) -> dict:
        """The resolved settings as plain values, and the digests of the files this stage starts from."""
        recipe = yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]
        starts = {key: recipe["model"].get(key) for key in ("init_from", "encoder")}
        return recipe | {
            "digest": {key: digest_of(path) for key, path in starts.items() if isinstance(path, str)}
        }

    def instantiate_trainer(self, **kwargs: object) -> L.Trainer:
        """The recipe's Trainer with our logger, and our monitors before the recipe's own callbacks."""
        if self.settings.trainer.logger is None:
            step = step_of(self.resumed) + 1 if self.resumed else None
            kwargs["logger"] = TensorBoardLogger(
                self.out, name="", version="", default_hp_metric=False, purge_step=step
            )
        trainer = super().instantiate_trainer(default_root_dir=self.out, **kwargs)
        trainer.callbacks[:0] = [
            OptimizerMonitor(),
            SpeedMonitor(),
            DataHealth(self.out),
            StopOnSignal(self.out),
        ]
        return trainer

    def after_fit(self) -> None:
        """Keep the last checkpoint, test if the stage has a test, and export: written last, so it says `done`."""
        if self.trainer.should_stop:
            print(f"stopped after step {self.trainer.global_step}; the same command continues from there")
            raise SystemExit(130)
        steps, wanted = self.trainer.global_step, self.model.total_steps
        if steps < max(wanted, 1) or self.trainer.fast_dev_run:
            print(f"stopped after {steps} of {wanted} steps, so nothing is exported")
            return
        last = Path(checkpoint_folder(self.out)) / f"step={steps}.ckpt"
        if self.trainer.strategy.broadcast(not last.exists()):  # all ranks save together or none
            self.trainer.save_checkpoint(
                last, weights_only=False
            )  # with the optimiser, which a cooldown takes over
        if is_overridden("test_step", self.model):
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False, weights_only=True)
        if self.trainer.is_global_zero:
            info = {
                "stage": stage_name(self._model_class),
                "steps": steps,
                "seed": self.settings.seed_everything,
            }
            export(self.out / EXPORT, self.model.parts(), info)
            print(f"{self.out / EXPORT} is written")


def run(stage: type[L.LightningModule], data: type[L.LightningDataModule]) -> None:
    """The command of a stage. A user's mistake ends it with one sentence and status 2."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    quiet()
    try:
        StageCLI(
            stage,
            data,
            seed_everything_default=0,
            save_config_callback=None,
            load_from_checkpoint_support=False,
        )
    except (UserError, MisconfigurationException) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


MOOT = (
    "does not have many workers",
    "in eval mode at the start of training",  # the frozen encoders, on purpose
    "isinstance.treespec, LeafSpec",
    "Checkpoint directory .* exists and is not empty",
    "smaller than the logging interval",  # our monitors write the first step themselves
    "Total length of `list` across ranks is zero",  # a recipe without validation
)


def quiet() -> None:
    """Lightning's advertisements, and its warnings that our design makes moot."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in MOOT:
        warnings.filterwarnings("ignore", message=f".*{message}.*")


def check_divisible(encoder: Encoder, clip: ClipConfig) -> Grid:
    """The token grid of the recipe's clips, or a refusal before anything is trained."""
    try:
        return encoder.grid(torch.empty(1, 3, clip.frames, clip.size, clip.size, device="meta"))
    except UserError as error:
        raise UserError(f"data.clip: {error}") from error


def bf16_is_native() -> bool:
    """Whether the accelerator computes in bfloat16; CPUs that do are not worth the lost digits at demo scale."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def stage_name(stage: type) -> str:
    """`pretrain` for the class in stages/pretrain.py, also when that file is the program."""
    return Path(inspect.getfile(stage)).stem


def checkpoint_folder(out: str | Path) -> str:
    return str(Path(out) / "checkpoints")


def digest_of(source: str) -> str:
    """Of the file that `source` leads to, so that a stage notices when its predecessor was trained anew."""
    path = checkpoint_in(source)
    return "folder" if path.is_dir() else digest(path)


def commit() -> str:
    """Of the code that runs, with `-dirty` if it was changed since; `unknown` outside a repository."""
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git on this machine
        return "unknown"
    return asked.stdout.strip() or "unknown"


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("step="))


def flat(tree: dict | list, prefix: str = "") -> dict[str, object]:
    """Nested settings as `a.b.0.c: value`."""
    out: dict[str, object] = {}
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        nested = isinstance(value, dict | list) and value
        out |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return out

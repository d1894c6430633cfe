"""One command line for every stage: LightningCLI with typed configs, a folder for each run, and monitors.

    python -m stages.pretrain fit --config conf/pretrain.yaml --out runs/demo/pretrain

Where training starts, in this order:

1. resume: `<out>/checkpoints` holds a checkpoint of this recipe, which continues bit for bit;
2. another run's weights: `model.init_from`;
3. scratch.

A finished stage is not run again. A folder belongs to one recipe; a run of another recipe in it is refused
(`vjepa.training.run_folder`).
"""

import inspect
import sys
from functools import partial
from pathlib import Path

import lightning as L
import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.command.pages import typed_program
from vjepa.data.clips import ClipConfig
from vjepa.data.module import ResumableData
from vjepa.data.workers import failures_as_errors
from vjepa.errors import UserError, require
from vjepa.models.encoder import Encoder
from vjepa.models.grid import Grid
from vjepa.training.checkpoint_settings import MonitoredMetric
from vjepa.training.finish import finish_fit
from vjepa.training.forecast import Forecast
from vjepa.training.kept_checkpoints import KeptCheckpoints
from vjepa.training.loggers import keep_earlier_tables, usual_logger
from vjepa.training.loss_guard import LossGuard, SpikeConfig
from vjepa.training.machine import MachineRecord, machine_of
from vjepa.training.monitors import DataHealth, OptimizerMonitor, SpeedMonitor
from vjepa.training.moved import accept_old_names
from vjepa.training.processes import started_processes
from vjepa.training.quiet import quiet
from vjepa.training.run_folder import RunFolder
from vjepa.training.sharded import check_sharding
from vjepa.training.signals import StopOnSignal, take_over
from vjepa.training.stage_parser import StageParser
from vjepa.training.starting_point import (
    SettingsInside,
    claim_data,
    misfit_as_sentence,
    starting_checkpoint,
)
from vjepa.training.tensorboard_layout import RunDescription
from vjepa.training.trainer_settings import (
    check_callbacks,
    check_trainer_settings,
    our_callbacks,
    our_plugins,
)
from vjepa.training.watch import Watch, watched
from vjepa.weights.checkpoints import step_of


class StageCLI(LightningCLI):
    """Adds `--out`, the settings of checkpoints, the monitors, and the rules above."""

    watch: Watch

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        out = f"runs/demo/{stage_name(self._model_class)}"
        text = "Folder of this run: checkpoints, TensorBoard, export."
        parser.add_argument("--out", type=str, default=out, help=text)
        text = "Licence of the weights, which the export names: MIT, CC-BY-4.0, ..."
        parser.add_argument("--licence", type=str | None, default=None, help=text)
        text = "Look out for jumps of the loss, such as --spike.factor 5; null does not."
        parser.add_argument("--spike", type=SpikeConfig | None, default=None, help=text)
        parser.add_lightning_class_args(KeptCheckpoints, "checkpoint")
        parser.set_defaults({"checkpoint.filename": "{step}", "checkpoint.enable_version_counter": False})
        # Our loaders know their rank, and Lightning's table of modules counts no operation inside our steps.
        parser.set_defaults({"trainer.use_distributed_sampler": False, "trainer.enable_model_summary": False})
        parser.link_arguments("out", "checkpoint.dirpath", compute_fn=checkpoint_folder)
        parser.link_arguments("seed_everything", "model.seed")
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: object) -> None:
        """Lightning's, and what it would refuse with a traceback."""
        super().parse_arguments(parser, args)
        command = self.config.subcommand
        seed = self.config[command].seed_everything
        require(0 <= seed < 2**32, f"--seed_everything {seed}: give a whole number from 0 to {2**32 - 1}")
        trainer = self.config[command].trainer
        check_trainer_settings(trainer, is_fit=command == "fit")
        check_sharding(stage_name(self._model_class), trainer.strategy, trainer.precision)
        has_test = self._model_class.test_step is not L.LightningModule.test_step
        text = f"{stage_name(self._model_class)} has no test; `validate` measures it on data.val"
        require(command != "test" or has_test, text)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only the one that was typed, since the parser of each takes a second to build."""
        known = {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}
        typed = sys.argv[1:2]
        return {name: known[name] for name in typed if name in known} or known

    @property
    def settings(self) -> Namespace:
        """The settings of the command that was given: `fit`, `validate` or `test`."""
        return self.config[self.subcommand]

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.settings.out, stage_name(self._model_class))

    @property
    def output(self) -> Path:
        """Where this command writes. A look at a checkpoint must not replace what the fit has written."""
        return self.folder.path if self.subcommand == "fit" else self.folder.path / self.subcommand

    def _parse_ckpt_path(self) -> None:
        """Not Lightning's, which opens the file before it is known to be a checkpoint."""

    def before_instantiate_classes(self) -> None:
        """A fit claims its folder and continues there; the other commands look at a checkpoint."""
        settings = self.settings
        self.processes = started_processes(settings.trainer)
        self.machine = machine_of(settings, self.processes)
        asked = (self.subcommand, self.folder, self.recipe(), self.machine, self.instantiated_data)
        begin = partial(starting_checkpoint, *asked)
        self.resumed = self.processes.first_decides(begin)
        settings.weights_only = True  # a checkpoint is read as plain values, and cannot run code
        if settings.trainer.precision is None:
            settings.trainer.precision = self.machine["precision"]
        if self.resumed:
            settings.ckpt_path = str(self.resumed)
            if self.subcommand != "fit":
                print(f"{self.resumed}: looking at step {step_of(self.resumed)}")

    def recipe(self) -> dict:
        """The resolved settings as plain values."""
        return yaml.safe_load(self.parser.dump(self.config, skip_none=False))[self.subcommand]

    def instantiated_data(self) -> ResumableData:
        """The data module alone: a finished stage needs no network to see that its data are the same."""
        parser = ArgumentParser()
        parser.add_class_arguments(self._datamodule_class, "data")
        return parser.instantiate(Namespace(data=self.settings.data)).data

    def instantiate_classes(self) -> None:
        """Lightning's; the data of a fit must be those that it began with."""
        super().instantiate_classes()
        self.model.continues = bool(self.resumed)
        if self.subcommand == "fit":
            self.processes.first_decides(partial(claim_data, self.folder, self.datamodule))

    def instantiate_trainer(self, **kwargs: object) -> L.Trainer:
        """The recipe's Trainer with our logger, and our monitors before the recipe's own callbacks."""
        out = self.output
        out.mkdir(parents=True, exist_ok=True)
        if self.settings.trainer.logger in (None, True):
            kwargs["logger"] = usual_logger(out, self.resumed)
        plugins = our_plugins(self._get(self.config_init, "trainer").plugins)
        try:
            trainer = super().instantiate_trainer(default_root_dir=out, plugins=plugins, **kwargs)
        except (ValueError, TypeError, ModuleNotFoundError) as error:  # such as an unknown accelerator
            raise UserError(f"trainer: {error}") from error
        keep_earlier_tables(trainer)
        # Ours come first, so that a gradient that is no number stops the run before others see it.
        stop = StopOnSignal(out, self.watch)
        take_over(trainer, self.watch)
        guard = LossGuard(self._get(self.config_init, "spike"))
        monitors = [guard, OptimizerMonitor(), SpeedMonitor(), DataHealth(out)]
        if self.subcommand == "fit":
            name = stage_name(self._model_class)
            inside = SettingsInside(self.recipe()["model"], self.folder)
            monitors += [Forecast(out), RunDescription(name, out), MonitoredMetric(), inside]
            monitors.append(MachineRecord(self.machine))
        check_callbacks(trainer.callbacks, self.model)
        trainer.callbacks = [*monitors, *our_callbacks(trainer.callbacks, stop), stop]
        return trainer

    def after_fit(self) -> None:
        """Keep the last checkpoint, test if the stage has a test, and export."""
        finish_fit(self.trainer, self.model, self.folder, self.resumed, self.settings)

    def after_validate(self) -> None:
        """Say where the files are."""
        text = "nothing was validated; give data.val, and trainer.limit_val_batches above 0"
        require(sum(self.trainer.num_val_batches) > 0, text)
        self.after_test()

    def after_test(self) -> None:
        """Say where the files are."""
        print(f"{self.output} holds what this {self.subcommand} wrote; the files of the run are as they were")

    def _run_subcommand(self, subcommand: str) -> None:
        """Lightning's, and a checkpoint that does not fit as a sentence."""
        with misfit_as_sentence(self.settings.ckpt_path, stage_name(self._model_class)):
            super()._run_subcommand(subcommand)


def run(stage: type[L.LightningModule], data: type[L.LightningDataModule]) -> None:
    """Run the command line of a stage. A user's mistake ends it with one sentence and status 2."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # they are the text of --help
    accept_old_names()
    quiet()
    text = {"description": sys.modules[stage.__module__].__doc__}
    with mistakes_as_sentences(), watched() as StageCLI.watch, failures_as_errors():
        StageCLI(
            stage,
            data,
            seed_everything_default=0,
            save_config_callback=None,
            load_from_checkpoint_support=False,
            parser_class=StageParser,
            # A shortened name would be taken in silence.
            parser_kwargs={"prog": typed_program(), "allow_abbrev": False, **text, **commands(text)},
        )


def commands(settings: dict) -> dict[str, dict]:
    """The same settings for the parser of every command."""
    return {name: dict(settings) for name in StageCLI.subcommands()}


def check_divisible(encoder: Encoder, clip: ClipConfig, name: str = "data.clip") -> Grid:
    """The token grid of the recipe's clips. Raises UserError if patches or tubelets do not divide them.

    name: The setting that says what they are.
    """
    try:
        return encoder.grid_of_size(clip.frames, clip.size, clip.size)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error


def stage_name(stage: type) -> str:
    """`pretrain` for the class in stages/pretrain.py, also when that file is the program."""
    return Path(inspect.getfile(stage)).stem


def checkpoint_folder(out: str) -> str:
    return str(RunFolder(out).checkpoints)

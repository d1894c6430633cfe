"""Settings of Lightning's Trainer: what a stage cannot carry out is refused before anything is written.

`--trainer.*` takes everything that Lightning's Trainer takes, and Lightning carries most of it out. Refused
is what would be passed over, or would change a run in silence. All settings are in
`tests/training/test_trainer_settings.py`.
"""

import re
import signal
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pydoc import locate

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, ProgressBar, Timer
from lightning.pytorch.plugins import CheckpointIO

from vjepa.errors import require
from vjepa.training.checkpoint_files import CheckpointFiles
from vjepa.training.image_monitor import ImageMonitor
from vjepa.training.label_free_monitor import LabelFreeMonitor
from vjepa.training.pretraining_monitors import CollapseMonitor, LossByDistance, ReadOutMonitor
from vjepa.training.progress import StepProgress
from vjepa.training.signals import StopOnSignal

REFUSED = {
    "barebones": "a run needs its checkpoints to continue, and barebones leaves them out",
    "default_root_dir": "name the folder of the run with --out",
    "limit_predict_batches": "no stage predicts in batches; use `vjepa predict` or `vjepa features`",
    "min_epochs": "a run ends early only by a signal or trainer.max_time, which it would hold up",
    "min_steps": "a run ends early only by a signal or trainer.max_time, which it would hold up",
    "model_registry": "the weights of a finished stage are <out>/model.safetensors",
    "reload_dataloaders_every_n_epochs": "the order of samples has no end, so there is nothing to load again",
    "sync_batchnorm": "no network here has batch normalisation",
    "use_distributed_sampler": "the loaders share samples out over the devices themselves",
}
"""Settings that stay as they are -> why, or what to do in their place."""
POSITIVE = (
    *("accumulate_grad_batches", "check_val_every_n_epoch", "limit_train_batches", "limit_test_batches"),
    *("log_every_n_steps", "val_check_interval"),
)
"""Settings that are more than 0, if they are given. A stage that has a test ends with it."""
HALF = (16, "16", "16-mixed")
PRECISIONS = (None, 32, "32", "32-true", "bf16", "bf16-mixed", *HALF)
STRATEGIES = (
    *("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true"),
    *("DDPStrategy", "SingleDeviceStrategy", "fsdp2"),
)
PACKAGES = {
    "CometLogger": "comet_ml",
    "LitLogger": "litlogger",
    "MLFlowLogger": "mlflow",
    "WandbLogger": "wandb",
}
"""Lightning's loggers that need a package of their own."""
CALLBACKS = {
    "EarlyStopping": "the schedules need the length of a run; lower trainer.max_steps",
    "GradientAccumulationScheduler": "a step has trainer.accumulate_grad_batches batches in the whole run",
    "BatchSizeFinder": "set data.batch_size",
    "LearningRateFinder": "set model.optim.lr",
    "Timer": "set trainer.max_time",
    "StochasticWeightAveraging": "the learning rate follows model.optim.lr; a cooldown takes its place",
    "BaseFinetuning": "a stage decides itself which of its networks train",
    "ModelPruning": "it would rename the weights that the export holds",
    "WeightAveraging": "it would replace the weights that are trained; the target encoder is an average",
}
"""Lightning's callbacks that a stage cannot have, with all that are derived from them -> why, or a remedy."""


def check_trainer_settings(trainer: Namespace, is_fit: bool) -> None:
    """Raise UserError for a setting of the Trainer that a stage cannot carry out."""
    for name, reason in REFUSED.items():
        given = trainer.get(name)
        require(not given, f"trainer.{name}={given}: {reason}; leave it out")
    checkpoints = trainer.enable_checkpointing is not False
    text = "a run needs checkpoints to continue; to keep few, set checkpoint.save_top_k"
    require(checkpoints, f"trainer.enable_checkpointing=false: {text}")
    check_numbers(trainer)
    check_precision(trainer)
    strategy = class_name(trainer.strategy)
    text = "a stage runs on one device (auto) or on several (ddp; fsdp2 for networks too large for one)"
    require(strategy in STRATEGIES, f"trainer.strategy={strategy}: {text}")
    check_classes(trainer)
    if is_fit and not trainer.fast_dev_run:
        check_length(trainer.max_steps, trainer.max_epochs)


def check_numbers(trainer: Namespace) -> None:
    """Raise UserError for a number of which Lightning's loops make an error of their own, or nothing."""
    for name in POSITIVE:
        value = trainer.get(name)
        # An interval may also be a time, in words.
        is_number = isinstance(value, int | float)
        require(not is_number or value > 0, f"trainer.{name}={value}: give a number above 0, or leave it out")
    clip = trainer.gradient_clip_val
    require(clip is None or clip >= 0, f"trainer.gradient_clip_val={clip}: give a number above 0, or null")
    seconds = Timer(trainer.max_time).time_remaining()
    text = f"trainer.max_time={trainer.max_time}: give a time that is not negative, or leave it out"
    require(seconds is None or seconds >= 0, text)
    both = trainer.overfit_batches and trainer.limit_train_batches is not None
    text = "Lightning would pass over the second; leave one of them out"
    require(not both, f"trainer.overfit_batches and trainer.limit_train_batches were both given: {text}")


def check_precision(trainer: Namespace) -> None:
    """Raise UserError for a precision that the networks, or this machine, cannot compute in."""
    precision = trainer.precision
    text = "weights are float32; choose 32-true, bf16-mixed, or 16-mixed on a GPU"
    require(precision in PRECISIONS, f"trainer.precision={precision}: {text}")
    # On a CPU, Lightning would compute in bfloat16 instead.
    has_half = torch.cuda.is_available() and trainer.accelerator != "cpu"
    text = "float16 needs a GPU; choose 32-true or bf16-mixed"
    require(precision not in HALF or has_half, f"trainer.precision={precision}: {text}")


def our_precision(accelerator: str) -> str:
    """bfloat16 where a GPU computes in it. On CPUs the gain at demo scale is not worth the lost digits."""
    is_native = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if is_native else "32-true"


def check_classes(trainer: Namespace) -> None:
    """Raise UserError for a logger whose package is missing, and for a callback that a stage cannot have."""
    for logger in map(class_name, listed(trainer.logger)):
        check_logger(logger)
    for callback in listed(trainer.callbacks):
        check_callback(callback.class_path)


def check_logger(name: str) -> None:
    package = PACKAGES.get(name)
    found = package is None or is_installed(package)
    require(found, f"trainer.logger={name} needs the package {package}: pip install {package}")


def check_callback(path: str) -> None:
    """path: Of the class; one that cannot be imported passes."""
    kinds = [kind.__name__ for kind in getattr(locate(path), "__mro__", ())]
    reasons = [CALLBACKS[kind] for kind in kinds if kind in CALLBACKS]
    require(not reasons, f"trainer.callbacks: {class_name(path)} cannot be had here: {''.join(reasons[:1])}")


def check_named_classes(complaint: str) -> None:
    """The same for a class that a parser cannot make: a needed argument, or the package, is missing."""
    for path in re.findall(r"(?:class_path'?[=:] ?'|Given value: )([\w.]+)", complaint):
        check_logger(class_name(path))
        check_callback(path)


def is_installed(package: str) -> bool:
    # A folder of that name, such as the one in which wandb keeps its runs, is found too, but has no origin.
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def check_length(steps: int, epochs: int | None) -> None:
    """Raise UserError unless the length of the run is known before it begins."""
    known = steps > 0 if epochs in (None, -1) else epochs > 0 and (steps > 0 or steps == -1)
    require(
        known,
        f"trainer.max_steps={steps}, trainer.max_epochs={epochs}: the schedules need the length of a run; "
        "give trainer.max_steps above 0, or trainer.max_steps -1 and trainer.max_epochs above 0",
    )


def listed(value: object) -> list:
    """The values of a setting that takes one or several; none for null, true and false."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def class_name(value: object) -> str:
    """`DDPStrategy` for `{class_path: lightning.pytorch.strategies.DDPStrategy}`; a word as it is."""
    path = value.class_path if isinstance(value, Namespace) else value
    return str(path).rpartition(".")[2]


def our_plugins(given: object) -> list:
    """The recipe's plugins of the Trainer, and the one that writes checkpoints."""
    plugins = listed(given)
    foreign = [type(plugin).__name__ for plugin in plugins if isinstance(plugin, CheckpointIO)]
    text = "a stage writes its checkpoints with a plugin of its own; leave it out"
    require(not foreign, f"trainer.plugins: {', '.join(foreign)}: {text}")
    return [*plugins, CheckpointFiles()]


def check_callbacks(callbacks: Iterable[Callback], stage: L.LightningModule) -> None:
    """Raise UserError for a monitor of pretraining in a stage that trains no encoder."""
    of_pretraining = (CollapseMonitor, ImageMonitor, LabelFreeMonitor, LossByDistance, ReadOutMonitor)
    misplaced = [type(callback).__name__ for callback in callbacks if isinstance(callback, of_pretraining)]
    require(
        hasattr(stage, "target") or not misplaced,
        f"trainer.callbacks: {', '.join(misplaced)} watches how an encoder is trained; leave it out here",
    )


def our_callbacks(callbacks: Iterable[Callback], stop: StopOnSignal) -> list[Callback]:
    """The Trainer's callbacks, with ours in place of Lightning's progress bar and of its limit of time."""
    ours: list[Callback] = []
    for callback in callbacks:
        if isinstance(callback, ProgressBar):
            ours.append(StepProgress())
        elif isinstance(callback, Timer) and callback.time_remaining() is not None:
            ours.append(TimeLimit(callback.time_remaining(), stop))
        else:
            ours.append(callback)
    return ours


class TimeLimit(L.Callback):
    """Ends a run when its time is up, as a signal does: after a whole step, with a checkpoint.

    Lightning's Timer ends it without a checkpoint, and between the batches of a step.
    """

    def __init__(self, seconds: float, stop: StopOnSignal) -> None:
        """
        Args:
            seconds: How long the run may go on; each time that it is continued has as much again.
            stop: What ends it.
        """
        self.seconds = seconds
        self.stop = stop

    def on_train_start(self, trainer, stage) -> None:
        self.end = time.monotonic() + self.seconds

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if time.monotonic() >= self.end:
            self.stop.watch.request(signal.SIGUSR1)

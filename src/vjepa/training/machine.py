"""The machine that a run computes on, and how it cuts the samples of a step: both may change on resume.

    runs/demo/pretrain: continuing after step 40 with 2 devices (before: 1), batches of 4 (before: 8)

A step has `data.batch_size` x devices x nodes x accumulated batches samples. That product stays. Then the
order of samples, masks and schedules are the same, however a step is cut.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import lightning as L
from jsonargparse import Namespace

from vjepa.errors import counted, require
from vjepa.training.processes import Processes, accelerator_class
from vjepa.training.run_folder import RunFolder
from vjepa.training.sharded import NAME
from vjepa.training.trainer_settings import our_precision
from vjepa.weights.checkpoints import step_of
from vjepa.weights.files import as_checkpoint_error
from vjepa.weights.pickles import read_pickle

MACHINE = "machine"
"""Where a checkpoint holds the machine that it was written on."""
Machine = Mapping[str, int | str]
"""Settings as they were resolved, by name. What an older version did not write down is missing."""
CUT = ("batch_size", "devices", "num_nodes", "accumulate_grad_batches")
"""Settings whose product is the number of samples of a step."""
SAME = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""Other names of a precision."""
NOUNS = {"devices": "device", "num_nodes": "node", "workers": "worker"}
WORDS = {
    "batch_size": "batches of {}",
    "accumulate_grad_batches": "{} batches a step",
    "log_every_n_steps": "a log every {} steps",
    "validation": "a validation every {} steps",
}
"""What a setting is called in the line that says what has changed; the others go by their names."""


class MachineRecord(L.Callback):
    """Writes the machine into every checkpoint, and fits the counts of a loaded one to this machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def on_save_checkpoint(self, trainer, stage, checkpoint: dict) -> None:
        checkpoint[MACHINE] = dict(self.machine)

    def on_load_checkpoint(self, trainer, stage, checkpoint: dict) -> None:
        before = checkpoint.get(MACHINE, {}).get("accumulate_grad_batches")
        recount(checkpoint, before, trainer.accumulate_grad_batches)
        validation = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
        if validation["completed"] == validation["ready"] or not trainer.limit_val_batches:
            end_epoch(checkpoint)


def machine_of(settings: Namespace, processes: Processes) -> Machine:
    """What a recipe means on this machine, such as the devices that `auto` finds."""
    trainer = settings.trainer
    accelerator = accelerator_class(trainer.accelerator).name()
    batches = trainer.accumulate_grad_batches
    interval = trainer.val_check_interval
    machine = {
        "devices": processes.count // trainer.num_nodes,
        "num_nodes": trainer.num_nodes,
        "batch_size": settings.data.batch_size,
        "accumulate_grad_batches": batches,
        "accelerator": accelerator,
        "precision": precision_name(trainer.precision or our_precision(accelerator)),
        # One device alone is a case of ddp.
        "strategy": NAME if trainer.strategy == NAME else "ddp",
        "workers": settings.data.workers,
        "log_every_n_steps": trainer.log_every_n_steps or 50,  # Lightning's number
    }
    # Lightning counts batches, of which a step may have had another number.
    return machine | ({"validation": f"{interval / batches:g}"} if isinstance(interval, int) else {})


def precision_name(precision: object) -> str:
    return SAME.get(str(precision), str(precision))


def recorded_machine(folder: RunFolder) -> Machine:
    """What the recipe in a run's folder says of its machine. It holds what was typed, such as `auto`."""
    recipe = folder.read_recipe()
    trainer = recipe["trainer"]
    typed = {name: trainer.get(name) for name in ("devices", "num_nodes", "accumulate_grad_batches")}
    typed["batch_size"] = recipe["data"].get("batch_size")
    known = {name: int(value) for name, value in typed.items() if str(value).isdecimal()}
    precision = trainer.get("precision")
    return known | ({} if precision is None else {"precision": precision_name(precision)})


@as_checkpoint_error
def read_machine(checkpoint: Path) -> Machine:
    """What a checkpoint says of its machine; an older one says nothing. Raises CheckpointError for damage."""
    machine = dict(read_pickle(checkpoint).get(MACHINE, {}))
    wrong = [name for name in CUT if type(machine.get(name, 1)) is not int or machine.get(name, 1) < 1]
    require(not wrong, f"its {MACHINE} has no number for {', '.join(wrong)}")
    return machine


def going_on(folder: RunFolder, checkpoint: Path, now: Machine, has_precision: bool) -> str:
    """The line that says from which step a run continues, and what has changed since then.

    has_precision: Whether the recipe names one. Raises UserError if a step would have another number of
    samples, or if the precision would change unasked.
    """
    before = {**recorded_machine(folder), **read_machine(checkpoint)}
    check_same_batch(folder.path, before, now)
    if not has_precision:
        check_same_precision(folder.path, before, now)
    return f"{folder.path}: continuing after step {step_of(checkpoint)}{changes(before, now)}"


def check_same_precision(run: Path, before: Machine, now: Machine) -> None:
    """Raise UserError if a recipe that names no precision would go on in another one on this machine."""
    ours = now["precision"]
    earlier = before.get("precision", ours)
    require(
        earlier == ours,
        f"{run} was trained in {earlier}, and this machine would go on in {ours}; give --trainer.precision "
        f"{earlier} to go on as before, or --trainer.precision {ours} to change it",
    )


def check_same_batch(run: Path, before: Machine, now: Machine) -> None:
    """Raise UserError if a step would have another number of samples than the run had so far."""
    # Where `auto` was not resolved, by an older version, the devices are taken to be as many.
    before = now | before
    samples = math.prod(before[name] for name in CUT)
    this = math.prod(now[name] for name in CUT)
    require(
        samples == this,
        f"{run} takes {samples} samples a step ({cut_text(before)}), and this would take {this} "
        f"({cut_text(now)}); {fitting(samples, now)}",
    )


def cut_text(machine: Machine) -> str:
    parts = [f"data.batch_size {machine['batch_size']}", counted(machine["devices"], "device")]
    if machine["num_nodes"] > 1:
        parts.append(counted(machine["num_nodes"], "node"))
    if machine["accumulate_grad_batches"] > 1:
        parts.append(f"trainer.accumulate_grad_batches {machine['accumulate_grad_batches']}")
    return " x ".join(parts)


def fitting(samples: int, machine: Machine) -> str:
    """What to give, so that a step of this machine has so many samples."""
    devices = machine["devices"] * machine["num_nodes"]
    each, rest = divmod(samples, devices)
    if rest:
        return f"choose a number of devices that divides {samples}"
    batch = machine["batch_size"]
    batches = machine["accumulate_grad_batches"]
    choices = [f"--data.batch_size {each // batches}"] if each % batches == 0 else []
    choices += [f"--trainer.accumulate_grad_batches {each // batch}"] if each % batch == 0 else []
    both = f"--data.batch_size {each} --trainer.accumulate_grad_batches 1"
    return f"give {' or '.join(choices) or both}"


def changes(before: Machine, now: Machine) -> str:
    """` with 2 devices (before: 1), batches of 4 (before: 8)`; nothing if all is as it was."""
    changed = [name for name in now if before.get(name, now[name]) != now[name]]
    told = [f"{in_words(name, now[name])} (before: {before[name]})" for name in changed]
    return f" with {', '.join(told)}" if told else ""


def in_words(name: str, value: int | str) -> str:
    return counted(int(value), NOUNS[name]) if name in NOUNS else WORDS.get(name, name + " {}").format(value)


def recount(checkpoint: dict, before: int | None, batches: int) -> None:
    """Count what a checkpoint holds in batches of this machine, from its whole steps.

    before: Batches of a step when it was written. batches: Those of a step now. A checkpoint that was written
    within a step continues after the step before.
    """
    steps = checkpoint["global_step"]
    loop = checkpoint["loops"]["fit_loop"]
    progress = loop["epoch_loop.batch_progress"]
    # Older checkpoints do not say how many batches a step had.
    before = before or max(progress["total"]["ready"] // max(steps, 1), 1)
    within_step = progress["total"]["ready"] % before > 0
    for counts in (progress["total"], progress["current"]):
        unfinished = counts["processed"] - counts["completed"]  # hooks of the last batch were still to come
        taken = counts["ready"] // before * batches
        counts.update(ready=taken, started=taken, processed=taken, completed=taken - unfinished)
    if within_step:  # Lightning will count the last whole step once more
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - 1


def end_epoch(checkpoint: dict) -> None:
    """Count an epoch as over if its last batch is done. Its validation must be over, or not be asked for.

    Lightning 2.6 counts the end of such an epoch and not its beginning, so a second interruption loses one.
    Without a validation, it takes one more batch.
    """
    loop = checkpoint["loops"]["fit_loop"]
    progress = loop["epoch_loop.batch_progress"]
    if not progress["is_last_batch"]:
        return
    for counts in loop["epoch_progress"].values():
        counts.update(dict.fromkeys(counts, counts["ready"]))
    progress["total"]["completed"] = progress["total"]["processed"]
    progress["current"].update(dict.fromkeys(progress["current"], 0))
    progress["is_last_batch"] = False
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"]

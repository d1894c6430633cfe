"""Which checkpoint a command of a stage begins with: `fit` continues, `validate` and `test` look at one.

    python -m stages.probe test --config runs/demo/probe/config.yaml --ckpt_path best

A score of weights that nobody trained is impossible: what does not lead to a checkpoint is refused.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L

from vjepa.data.module import ResumableData
from vjepa.drawing.folder_lock import check_owned, own
from vjepa.errors import require
from vjepa.training.checkpoint_settings import check_checkpoint_settings
from vjepa.training.frozen_stage import DIGEST, TEACHER_DIGEST
from vjepa.training.kept_checkpoints import best_names
from vjepa.training.machine import Machine, going_on
from vjepa.training.moved import current_names
from vjepa.training.run_folder import RunFolder, differences
from vjepa.training.run_inputs import weights_digests
from vjepa.weights.checkpoints import FOLDER, checkpoint_in
from vjepa.weights.files import CheckpointError, as_checkpoint_error
from vjepa.weights.pickles import read_pickle

CHOICES = "give last, best, or a .ckpt file of a run's folder `checkpoints`"
ONLY_TRAINING = (
    *("optim", "momentum", "masks", "init_from", "activation_checkpointing", "seed", "scales"),
    *("grid", "selection", "alarm", "context", "images", "half_life", "ac"),
)
"""Settings of a stage that may differ between the run of a checkpoint and a look at it."""
MEMORY_AND_START = ("alarm.", "init_from:", "activation_checkpointing:", "cache_bytes:")
"""Settings of a stage that may differ when its run goes on: none of them changes a weight any more."""
SETTINGS = "model_settings"
"""Where a checkpoint holds the settings of `model` that it was trained with."""


class SettingsInside(L.Callback):
    """Writes the settings of `model` into every checkpoint, whose file may be moved away from its recipe.

    No checkpoint is saved into a folder that was removed, or taken over by another run, since this one began.
    """

    def __init__(self, model: dict, folder: RunFolder) -> None:
        self.model = model
        self.folder = folder

    def on_save_checkpoint(self, trainer, stage, checkpoint: dict) -> None:
        check_owned(self.folder.path)
        checkpoint[SETTINGS] = self.model


def claim_folder(folder: RunFolder, recipe: dict, load_data: Callable[[], ResumableData]) -> dict[str, str]:
    """Take a folder for a recipe and this process alone; exit if the recipe is finished there.

    Returns the digests of the weights that the run starts from.

    Raises UserError if another process has the folder, or if it holds a run of another recipe, of other
    weights, or, where it is finished, of other data.
    """
    # Before anything is read: of two that start together, the second would not see the first's recipe.
    own(folder.path)
    folder.check_recipe(recipe)
    inputs = folder.inputs
    weights = weights_digests(recipe["model"], may_be_gone=folder.is_begun)
    if folder.is_begun:
        inputs.check_weights(weights)
        weights = inputs.weights | weights
    # Before a recipe with another place of the data is written.
    if folder.export.exists() or (folder.is_begun and folder.has_moved_data(recipe)):
        inputs.check_data(load_data().data_digests())
    if folder.export.exists():
        folder.export.touch()  # newer than its YAML again, so that make knows that it is up to date
        print(f"{folder.path} is finished, nothing to do")
        raise SystemExit(0)
    return weights


def claim_data(folder: RunFolder, data: ResumableData) -> None:
    """Record the data of a run. Raises UserError if it began with other ones."""
    digests = data.data_digests()
    if folder.is_begun:
        folder.inputs.check_data(digests)
    folder.inputs.write(folder.inputs.weights, digests)


def starting_checkpoint(
    command: str, folder: RunFolder, recipe: dict, machine: Machine, load_data: Callable[[], ResumableData]
) -> Path | None:
    """The checkpoint that a command begins with. A fit claims its folder and continues there.

    machine: What the recipe means on this one.
    """
    require(str(folder.path) != ".", "--out is empty; name a folder")
    asked = recipe["ckpt_path"]
    if command != "fit":
        found = asked_checkpoint(folder, asked, recipe["model"])
        there = found or recipe["model"].get("init_from")
        require(bool(there), f"{folder.path} holds no checkpoint; train first, or give another --out")
        own(folder.path / command)  # beside a fit that goes on, but not beside another look
        return found
    text = "fit resumes by itself; to start from other weights give --model.init_from, not --ckpt_path"
    require(not asked, text)
    check_checkpoint_settings(recipe["checkpoint"])
    weights = claim_folder(folder, recipe, load_data)
    found = continued_checkpoint(folder, recipe["model"])
    if found:
        print(going_on(folder, found, machine, has_precision=recipe["trainer"]["precision"] is not None))
    # After all that may be refused, so that the folder keeps what its checkpoints were trained with.
    folder.write_recipe(recipe)
    folder.inputs.write(weights, folder.inputs.data)
    return found


def asked_checkpoint(folder: RunFolder, asked: str | None, model: dict) -> Path | None:
    """The checkpoint that `validate` and `test` look at: the newest, the best, or a file.

    asked: What `--ckpt_path` says. None means the newest, if there is any. Raises UserError unless the
    checkpoint belongs to a run with these settings of `model`.
    """
    found = chosen(folder, asked)
    if found:
        check_same_model(found, model, may_differ=ONLY_TRAINING)
        if run := run_of(found):
            run.inputs.check_weights(weights_digests({"encoder": model.get("encoder")}))
    return found


def continued_checkpoint(folder: RunFolder, model: dict) -> Path | None:
    """The checkpoint that `fit` continues from. Raises UserError if one of another run was put there."""
    found = folder.newest_checkpoint()
    if found:
        # Its place does not matter here, since `claim_folder` has compared the content.
        check_same_model(found, model, may_differ=MEMORY_AND_START)
    return found


def check_not_beyond(file: Path | None, step: int, last: int) -> None:
    """Raise UserError if a run would end with a checkpoint of more steps than its recipe has."""
    require(
        step <= last,
        f"{file} is of step {step}, but this recipe ends after step {last}; remove that file, or choose "
        "another --out",
    )


def chosen(folder: RunFolder, asked: str | None) -> Path | None:
    if asked and asked not in ("last", "best"):
        return checkpoint_file(Path(asked))
    newest = folder.newest_checkpoint()
    require(bool(newest) or not asked, f"{folder.path} holds no checkpoint, so none is the {asked}")
    return best_checkpoint(folder, newest) if asked == "best" else newest


def best_checkpoint(folder: RunFolder, newest: Path) -> Path:
    """The checkpoint with the best value of `checkpoint.monitor` so far, which the newest one names."""
    choices = best_names(newest)
    require(
        bool(choices),
        f"{folder.path} was trained without checkpoint.monitor, so none of its checkpoints is the best; "
        "give --ckpt_path last, or a file",
    )
    monitor, name = choices[0]
    best = folder.checkpoints / name
    require(best.is_file(), f"{best}, the best checkpoint by {monitor}, is not there; {CHOICES}")
    return best


def checkpoint_file(path: Path) -> Path:
    """A file that is a checkpoint of a stage, or the newest of a folder. Raises UserError for others.

    path: A file, a folder of checkpoints, or the folder of a run.
    """
    require(path.exists(), f"--ckpt_path {path}: there is no such file; {CHOICES}")
    run = RunFolder(path)
    file = checkpoint_in(run.checkpoints if run.checkpoints.is_dir() else path)
    require(
        file.suffix != ".safetensors",
        f"--ckpt_path {file}: an export holds networks, and not the state of a stage; {CHOICES}",
    )
    require(file.is_file(), f"--ckpt_path {file} is a model of Hugging Face; {CHOICES}")
    is_ours = "pytorch-lightning_version" in read_pickle(file)
    require(is_ours, f"--ckpt_path {file}: this is no checkpoint of a stage; {CHOICES}")
    return file


@as_checkpoint_error
def check_same_model(file: Path, model: dict, may_differ: tuple[str, ...]) -> None:
    """Raise UserError if a checkpoint was trained with another model, as far as that is known.

    may_differ: Beginnings of the settings that do not matter.
    """
    run = run_of(file)
    checkpoint = read_pickle(file)
    # Older checkpoints do not hold them.
    recorded = current_names(checkpoint.get(SETTINGS)) or (run.read_recipe()["model"] if run else {})
    check_same_stage(file, recorded, model)
    if DIGEST in checkpoint:  # which the stage compares, so that the place of its encoder does not matter
        may_differ = (*may_differ, "encoder:")
    if TEACHER_DIGEST in checkpoint:
        may_differ = (*may_differ, "teacher:")
    # What one of them lacks belongs to another version.
    shared = recorded.keys() & model.keys()
    changed = differences({key: recorded[key] for key in shared}, {key: model[key] for key in shared})
    changed = [change for change in changed if not change.startswith(may_differ)]
    recipe = f"--config {run.recipe}" if run else "the recipe of that run"
    require(
        not changed,
        f"{file} belongs to a run with another model ({'; '.join(changed[:3])}); give {recipe}, or another "
        "checkpoint",
    )


def run_of(file: Path) -> RunFolder | None:
    """The run in whose folder a checkpoint lies, if its recipe is there too."""
    runs = [RunFolder(folder.parent) for folder in file.parents if folder.name == FOLDER]
    return runs[0] if runs and runs[0].recipe.exists() else None


def check_same_stage(file: Path, recorded: dict, model: dict) -> None:
    """Raise UserError if the settings of a checkpoint's model are those of another stage."""
    # One stage has the same names in all recipes. Between versions some may come, or some may go.
    foreign = [name for name in recorded if name not in model]
    require(
        not foreign or model.keys() <= recorded.keys(),
        f"{file} belongs to a run of another stage (its model has {', '.join(foreign)}); "
        "give a checkpoint of this stage, or the command of the other",
    )


@contextmanager
def misfit_as_sentence(file: str | None, stage: str) -> Iterator[None]:
    """Raise CheckpointError where the weights of a checkpoint do not fit the networks of a stage."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("Error(s) in loading state_dict"):
            raise
        _, *problems = str(error).splitlines()
        raise CheckpointError(
            f"{file} does not fit this {stage}: it is of another stage or of another recipe "
            f"({problems[0].strip()[:200]}); give the recipe of its run, or another checkpoint"
        ) from error

"""Which checkpoint a command of a stage begins with: `fit` continues, `validate` and `test` look at one.

    python -m stages.probe test --config runs/demo/probe/config.yaml --ckpt_path best

A score of weights that nobody trained is impossible: what does not lead to a checkpoint is refused.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from vjepa.data.module import ResumableData
from vjepa.errors import require
from vjepa.training.moved import current_names
from vjepa.training.run_folder import RunFolder, differences
from vjepa.training.run_inputs import RunInputs, weights_digests
from vjepa.weights.checkpoints import FOLDER, checkpoint_in
from vjepa.weights.files import CheckpointError, read_pickle

CHOICES = "give last, best, or a .ckpt file of a run's folder `checkpoints`"
ONLY_TRAINING = (
    *("optim", "momentum", "masks", "init_from", "activation_checkpointing", "seed", "scales"),
    *("grid", "selection"),
)
"""Settings of a stage that may differ between the run of a checkpoint and a look at it."""


def claim_folder(folder: RunFolder, recipe: dict, load_data: Callable[[], ResumableData]) -> None:
    """Make a folder that of a recipe; exit if the recipe is finished there.

    Raises UserError if the folder holds a run of another recipe, of other weights, or, where it is finished,
    of other data.
    """
    require(str(folder.path) != ".", "--out is empty; name a folder")
    folder.check_recipe(recipe)
    weights = weights_digests(recipe["model"])
    inputs = folder.inputs
    if folder.is_begun:
        inputs.check_weights(weights)
    if folder.export.exists():
        inputs.check_data(load_data().data_digests())
        folder.export.touch()  # newer than its YAML again, so that make knows that it is up to date
        print(f"{folder.path} is finished, nothing to do")
        raise SystemExit(0)
    folder.write_recipe(recipe)
    inputs.write(weights, inputs.data)


def claim_data(folder: RunFolder, data: ResumableData) -> None:
    """Record the data of a run. Raises UserError if it began with other ones."""
    digests = data.data_digests()
    if folder.is_begun:
        folder.inputs.check_data(digests)
    folder.inputs.write(folder.inputs.weights, digests)


def asked_checkpoint(folder: RunFolder, asked: str | None, model: dict) -> Path | None:
    """The checkpoint that `validate` and `test` look at: the newest, the best, or a file.

    asked: What `--ckpt_path` says. None means the newest, if there is any. Raises UserError unless the
    checkpoint belongs to a run with these settings of `model`.
    """
    found = chosen(folder, asked)
    if found:
        check_same_model(found, model)
    return found


def chosen(folder: RunFolder, asked: str | None) -> Path | None:
    if asked and asked not in ("last", "best"):
        return checkpoint_file(Path(asked))
    newest = folder.newest_checkpoint()
    require(bool(newest) or not asked, f"{folder.path} holds no checkpoint, so none is the {asked}")
    return best_checkpoint(folder, newest) if asked == "best" else newest


def best_checkpoint(folder: RunFolder, newest: Path) -> Path:
    """The checkpoint with the best value of `checkpoint.monitor` so far, which the newest one names."""
    states = read_pickle(newest)["callbacks"].items()
    watching = [state for key, state in states if key.startswith("ModelCheckpoint") and state["monitor"]]
    require(
        bool(watching),
        f"{folder.path} was trained without checkpoint.monitor, so none of its checkpoints is the best; "
        "give --ckpt_path last, or a file",
    )
    state = watching[0]
    # Below the folder as it is now, since it may have been moved.
    best = folder.checkpoints / os.path.relpath(state["best_model_path"] or ".", state["dirpath"])
    require(best.is_file(), f"{best}, the best checkpoint by {state['monitor']}, is not there; {CHOICES}")
    return best


def checkpoint_file(path: Path) -> Path:
    """A file that is a checkpoint of a stage, or the newest of a folder. Raises UserError for others."""
    require(path.exists(), f"--ckpt_path {path}: there is no such file; {CHOICES}")
    file = checkpoint_in(path)
    require(
        file.suffix != ".safetensors",
        f"--ckpt_path {file}: an export holds networks, and not the state of a stage; {CHOICES}",
    )
    require(file.is_file(), f"--ckpt_path {file} is a model of Hugging Face; {CHOICES}")
    is_ours = "pytorch-lightning_version" in read_pickle(file)
    require(is_ours, f"--ckpt_path {file}: this is no checkpoint of a stage; {CHOICES}")
    return file


def check_same_model(file: Path, model: dict) -> None:
    """Raise UserError if the run that a checkpoint belongs to had another model, as far as it is known."""
    runs = [folder.parent for folder in file.parents if folder.name == FOLDER]
    if not runs or not (recipe := RunFolder(runs[0]).recipe).exists():
        return
    recorded = current_names(yaml.safe_load(recipe.read_text()))["model"]
    # What one of them lacks belongs to another stage, and then the weights do not fit, or to another version.
    shared = recorded.keys() & model.keys()
    changed = differences({key: recorded[key] for key in shared}, {key: model[key] for key in shared})
    changed = [change for change in changed if not change.startswith(ONLY_TRAINING)]
    require(
        not changed,
        f"{file} belongs to a run with another model ({'; '.join(changed[:3])}); give --config {recipe}",
    )
    encoder = weights_digests({"encoder": model.get("encoder")})
    RunInputs(runs[0]).check_weights(encoder)


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

"""Where the recipes (`conf/`) are, and which of them a stage is run with.

A recipe is `conf/<stage>.yaml`, then what a data set (`--task`) and a size (`--scale`) lay over it, as in the
Makefile.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import yaml

from vjepa.command.suggestions import did_you_mean
from vjepa.command.yaml_text import load_yaml
from vjepa.errors import UserError, require

PACKAGE = Path(__file__).parents[1]
BOTH = ("pretrain", "cooldown", "distil")
"""Stages that need a size and a data set: a large encoder is not trained on the demo's clips."""


def recipe_folder() -> Path:
    """The folder of the recipes: inside the installed package, or in the repository beside `src`."""
    packaged = PACKAGE / "conf"
    return packaged if packaged.is_dir() else PACKAGE.parents[1] / "conf"


def recipe_files(stage: str, task: str | None, scale: str | None) -> tuple[list[Path], list[Path]]:
    """The files of a stage's recipe, the first below, and those that it lacks."""
    folder = recipe_folder()
    named = {"task": task, "scale": scale}
    for kind, name in named.items():
        check_known(kind, name, folder)
    wanted = [folder / kind / name / f"{stage}.yaml" for kind, name in named.items() if name]
    there = [file for file in wanted if file.exists()]
    return [folder / f"{stage}.yaml", *there], missing_files(stage, task, scale, there)


def check_known(kind: str, name: str | None, folder: Path) -> None:
    """Raise UserError for a task or a scale that has no folder."""
    known = recipe_names(kind, folder)
    if name and name not in known:
        nearest = did_you_mean(name, known)
        raise UserError(
            f"--{kind} {name}: there is none of this name; give one of {', '.join(known)}{nearest}"
        )


def recipe_names(kind: str, folder: Path) -> list[str]:
    """The tasks or the scales that there are."""
    return sorted(path.name for path in (folder / kind).iterdir() if path.is_dir())


def missing_files(stage: str, task: str | None, scale: str | None, there: list[Path]) -> list[Path]:
    """The overlays without which a size would be trained on the demo's data."""
    folder = recipe_folder()
    overlays = {
        "task": folder / "task" / (task or "TASK") / f"{stage}.yaml",
        "scale": folder / "scale" / (scale or "SCALE") / f"{stage}.yaml",
    }
    if not task and not scale:
        return []
    if stage not in BOTH:
        needed = [overlays["task" if task else "scale"]]
    elif brings_data(overlays["scale"]):
        needed = []
    else:
        needed = list(overlays.values())
    return [file for file in needed if file not in there]


def brings_data(overlay: Path) -> bool:
    """Whether a size names its own training data, such as `own`."""
    return overlay.exists() and "train" in (yaml.safe_load(overlay.read_text()).get("data") or {})


def sets(recipe: str, option: str) -> bool:
    """Whether a recipe gives a value to an option such as `--model.encoder`, or to a part of it.

    True too where it cannot be read: the parser says so, and it shall be the first to speak.
    """
    try:
        settings = load_yaml(Path(recipe).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return True
    return any(f"--{key}.".startswith(f"{option}.") for key in keys_with_value(settings))


def keys_with_value(settings: object, prefix: str = "") -> Iterator[str]:
    """The dotted keys of a recipe that hold something."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from keys_with_value(value, f"{prefix}.{key}" if prefix else str(key))
    elif settings is not None:
        yield prefix


def check_complete(stage: str, lacking: list[Path]) -> None:
    """Raise UserError if a recipe lacks overlays."""
    names = ", ".join(shown(file) for file in lacking)
    require(
        not lacking,
        f"{stage} lacks {names}; give --task and --scale, or --data.train, or --config with yours",
    )


def shown(path: Path) -> str:
    """The path as one would type it: relative inside the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

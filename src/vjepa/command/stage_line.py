"""The command line of a stage for `vjepa fit pretrain`: its recipe, its folder, and what earlier stages made.

This is the Makefile's rule in Python, for those who installed the package and have no Makefile.
"""

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vjepa.command.recipes import check_complete, recipe_files, sets, shown
from vjepa.command.suggestions import did_you_mean
from vjepa.command.table import STAGES
from vjepa.errors import require

OWN = {"--run": "demo", "--task": "", "--scale": "", "--out": ""}
"""Options that are understood here, and their defaults; all others but `--config` are the stage's."""


class StageLine(NamedTuple):
    """What starts a stage: `python -m <module> <words>`."""

    module: str
    words: list[str]


class Input(NamedTuple):
    """A file or folder that a stage starts from."""

    path: str
    made_by: str
    """The command that makes it."""
    option: str | None = None
    """The option that names it; None where the recipe names it."""
    instead: str = ""
    """The option with which one gives another; that of its own if empty."""
    note: str = ""
    """What is said where it is taken."""

    def check(self) -> None:
        """Raise UserError if it is not there."""
        require(
            Path(self.path).exists(),
            f"{self.path} does not exist; make it with: {self.made_by}, "
            f"or give {self.instead or self.option} with yours",
        )


def stage_line(command: str, stage: str, words: Sequence[str]) -> StageLine:
    """`python -m stages.X` with recipe, folder and inputs in front of the words that were typed.

    The recipes that were typed come before all options, so that no recipe takes back what an option says.
    """
    require(
        stage in STAGES,
        f"there is no stage {stage!r}; give one of {', '.join(STAGES)}{did_you_mean(stage, STAGES)}",
    )
    names_folder = is_given("--run", words) or is_given("--out", words)
    own, typed, words = taken(words)
    out = own["--out"] or f"runs/{own['--run']}/{stage}"
    overlaid = bool(own["--task"] or own["--scale"])
    recorded = Path(out, "config.yaml")
    if command != "fit" and not typed and not overlaid and recorded.exists():
        # The run's own recipe: nothing that was typed for its training has to be typed again.
        return StageLine(STAGES[stage], [command, "--config", str(recorded), "--out", out, *words])

    files, lacking = recipe_files(stage, own["--task"] or None, own["--scale"] or None)
    check_complete(stage, [] if typed or is_given("--data.train", words) else lacking)
    line = [command]
    for file in [*map(shown, files), *typed]:
        line += ["--config", file]
    if names_folder or not is_set("--out", [], typed):
        line += ["--out", out]
    demo = not overlaid and not is_set("--data.train", words, typed)
    is_help = any(word.partition("=")[0].endswith(".help") for word in words)
    for needed in () if is_help else inputs(stage, own, demo):
        if needed.option and is_set(needed.option, words, typed):
            continue
        needed.check()
        if needed.note:
            print(needed.note, file=sys.stderr)
        line += [needed.option, needed.path] if needed.option else []
    return StageLine(STAGES[stage], [*line, *words])


def taken(words: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Our own options, the recipes that were typed, and the words that are left."""
    own = dict(OWN)
    recipes = []
    rest = []
    queue = list(words)
    while queue:
        option, equals, value = (word := queue.pop(0)).partition("=")
        if option not in (*OWN, "--config", "-c"):
            rest.append(word)
            continue
        value = value if equals or not queue else queue.pop(0)
        # Empty as a shell's variable that is not set: the demo's recipe must not stand in for it.
        require(bool(value), f"{option} needs a value")
        if option in OWN:
            own[option] = value
        else:
            recipes.append(value)
    return own, recipes, rest


def is_given(option: str, words: Sequence[str]) -> bool:
    """Whether an option was typed, a part of it, or its whole group: `--model FILE` brings an encoder too."""
    group = option.partition(".")[0]
    starts = (f"{option}=", f"{option}.", f"{option}+", f"{group}=")
    return any(word in (option, group) or word.startswith(starts) for word in words)


def is_set(option: str, words: Sequence[str], recipes: Sequence[str]) -> bool:
    """Whether an option was typed, or is given a value by one of the recipes that were typed."""
    return is_given(option, words) or any(sets(recipe, option) for recipe in recipes)


def inputs(stage: str, own: Mapping[str, str], demo: bool) -> Iterator[Input]:
    """What a stage starts from, in the order of its command line; the demo's data only in the demo."""
    folder = f"runs/{own['--run']}"
    if demo:
        yield from demo_data(stage)
    if stage == "cooldown":
        yield Input(f"{folder}/pretrain/checkpoints", fit_line("pretrain", own), "--model.init_from")
    if stage == "align" and demo:
        texts = "data/demo/captions.jsonl data/demo/train.jsonl"
        made_by = f"vjepa weights tiny-language-model --texts {texts} --out {folder}/language"
        yield Input(f"{folder}/language", made_by, "--model.language.source")
    if stage == "distil":
        made_by = "vjepa fit pretrain --scale teacher --run teacher"
        yield Input("runs/teacher/pretrain/model.safetensors", made_by, "--model.teacher")
    if stage not in ("pretrain", "cooldown", "distil"):
        yield encoder_input(folder, own)
    if stage == "decode":
        yield Input(f"{folder}/ac/model.safetensors", fit_line("ac", own), "--model.ac")
    if stage == "vlm":
        yield Input(f"{folder}/align/model.safetensors", fit_line("align", own), "--model.init_from")


def fit_line(stage: str, own: Mapping[str, str]) -> str:
    """The command that trains an earlier stage of the same run, with its size and data set."""
    given = [
        word for option in ("--scale", "--task", "--run") if own[option] for word in (option, own[option])
    ]
    return shlex.join(["vjepa", "fit", stage, *given])


def encoder_input(folder: str, own: Mapping[str, str]) -> Input:
    """The encoder of a run: that of its cooldown, or of its pretraining where no cooldown was begun.

    The run `demo` has a cooldown always, as with make.
    """
    cooldown = Path(folder, "cooldown")
    if own["--run"] == OWN["--run"] or cooldown.exists():
        return Input(f"{cooldown}/model.safetensors", fit_line("cooldown", own), "--model.encoder")
    path = f"{folder}/pretrain/model.safetensors"
    note = f"{folder} holds no cooldown, so the encoder is {path}"
    return Input(path, fit_line("pretrain", own), "--model.encoder", note=note)


def demo_data(stage: str) -> Iterator[Input]:
    """The recordings that the demo's recipe of a stage reads."""
    given = "--data.train"
    if stage in ("pretrain", "cooldown", "distil", "probe"):
        yield Input("data/demo/done.json", "vjepa data record-clips --out data/demo", instead=given)
    if stage in ("ac", "state", "clone", "decode"):
        yield Input("data/robot/done.json", "vjepa data record-robot --out data/robot", instead=given)
    if stage in ("align", "vlm"):
        yield Input("data/demo/test.jsonl", "vjepa data record-questions --world data/demo", instead=given)
    if stage == "anticipate":
        for split, seed, episodes in (("train", 0, 120), ("val", 1, 20), ("test", 2, 40)):
            out = f"data/anticipate/{split}"
            made_by = f"vjepa data record-clips --out {out} --clips 0 --seed {seed} --episodes {episodes}"
            yield Input(f"{out}/done.json", made_by, instead=given)

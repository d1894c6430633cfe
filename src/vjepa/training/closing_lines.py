"""The last two lines of a finished stage: its score beside a control, and the command that comes next.

score: label_linear 0.79, untrained 0.38
next:  make cooldown
"""

import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import lightning as L

from vjepa.evaluation.decoding_report import closing_score
from vjepa.training.label_free_monitor import LabelFreeMonitor, manifests_without_labels
from vjepa.training.pretraining_monitors import ReadOutMonitor

EXPORT = "model.safetensors"
FOLLOWING = {
    **{"pretrain": "cooldown", "cooldown": "probe", "distil": "probe"},
    **{"align": "vlm", "ac": "plan", "state": "plan", "clone": "plan"},
}
"""By stage, the target of make that goes on from it."""
INPUTS = {
    "cooldown": "--model.init_from {out}/checkpoints",
    "probe": "--model.encoder {export}",
    "vlm": "--model.encoder {encoder} --model.init_from {out}",
}
"""By stage, the options that name what earlier stages have trained."""
USES = {
    "cooldown": "vjepa look VIDEO --encoder {export}",
    "distil": "vjepa look VIDEO --encoder {export}",
    "probe": "vjepa predict VIDEO --probe {export}",
    "anticipate": "vjepa report {out}/scores.json",
    "ac": "vjepa plan --encoder {encoder} --ac {export}",
    "state": "vjepa weights info {export}",
    "clone": "vjepa weights info {export}",
    "decode": "vjepa weights info {export}",
    "vlm": "vjepa ask 'What happens?' --model {out} --video VIDEO",
}
"""By stage, what to do with its export where no stage follows."""


def closing_lines(name: str, trainer: L.Trainer, out: Path) -> str:
    """Both lines for a stage called `name`; only the second where nothing was scored."""
    score = score_line(name, trainer, out)
    return (f"score: {score}\n" if score else "") + f"next:  {next_command(name, trainer, out)}"


def score_line(name: str, trainer: L.Trainer, out: Path) -> str | None:
    """The main score of a finished stage beside its control."""
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    match name:
        case "pretrain" | "cooldown" | "distil":
            return pretraining_score(trainer, metrics)
        case "probe":
            rows = json.loads((out / "scores.json").read_text())
            return f"test {rows[0]['measure']}: {named((row['name'], row['value']) for row in rows)}"
        case "anticipate":
            rows = json.loads((out / "scores.json").read_text())
            asked = [row for row in rows if row["anchor"] == rows[0]["anchor"]]
            shown = [row for row in asked if row["name"].startswith(("both", "most frequent", "chance"))]
            return f"{rows[0]['measure']} of verbs: {named((row['name'], row['verb']) for row in shown)}"
        case "ac" if (out / "horizons.json").exists():  # a recipe may have no test
            errors = json.loads((out / "horizons.json").read_text())["errors"]
            last = [("predictor", errors["model"][-1]), ("standing still", errors["persistence"][-1])]
            return f"error {len(errors['model'])} actions ahead: {named(last)}"
        case "state":
            what = "centimetres between the hand and where it is read"
            shown = (("val/centimetres", "reader"), ("val/always_centimetres", "always the middle"))
            return compared(metrics, what, *shown)
        case "clone":
            return compared(
                metrics, "error of actions", ("val/loss", "policy"), ("val/no_motion", "no motion")
            )
        case "decode" if (out / "decoding.json").exists():  # a recipe may have no test
            return closing_score(json.loads((out / "decoding.json").read_text())["scores"])
        case "vlm":
            return compared(metrics, "right answers", ("val/accuracy", "model"), ("val/chance", "chance"))
    return None


def pretraining_score(trainer: L.Trainer, metrics: Mapping[str, float]) -> str | None:
    """Read-outs of labels if the recipe has them, else readings without labels, else the loss."""
    for callback in trainer.callbacks:
        if isinstance(callback, ReadOutMonitor) and callback.last:
            column = f"{callback.readout.classes[0]}_linear"
            before = f", untrained {callback.first[column]:.2f}" if callback.first else ""
            return f"{column} {callback.last[column]:.2f}{before}"
        if isinstance(callback, LabelFreeMonitor) and callback.result:
            return callback.result.sentence()
    share = metrics.get("val/loss_over_mean")
    return None if share is None else f"validation loss {share:.2f} of the loss of predicting the mean"


def compared(metrics: Mapping[str, float], what: str, *shown: tuple[str, str]) -> str | None:
    """The metrics that were logged, under their names; None if the first was not."""
    if shown[0][0] not in metrics:
        return None
    return f"{what}: {named((name, metrics[key]) for key, name in shown if key in metrics)}"


def named(values: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values)


def next_command(name: str, trainer: L.Trainer, out: Path) -> str:
    """What to run after this stage, as it was run itself: with make, `vjepa`, or `python -m stages...`."""
    if trainer.overfit_batches:
        return "the same command without trainer.overfit_batches, in another folder"
    stage = trainer.lightning_module
    if name == "vlm" and not stage.trains_language:
        name = "align"  # the same stage; its second phase follows
    if name == "pretrain" and learned_nothing(trainer):
        return longer_command(name, 2 * int(stage.total_steps), out)
    following = FOLLOWING.get(name)
    if name in ("cooldown", "distil") and manifests_without_labels(trainer.datamodule):
        following = None
    # make's probe reads the cooldown's encoder, so a distilled one has to be named.
    if following and "MAKELEVEL" in os.environ and name != "distil":
        return shlex.join(["make", following, *make_variables(os.environ.get("MAKEFLAGS", ""))])

    places = {"out": out, "export": out / EXPORT, "encoder": getattr(stage, "source", None)}
    if following not in INPUTS:
        return shlex.join(word.format(**places) for word in shlex.split(USES[name]))
    inputs = [word.format(**places) for word in INPUTS[following].split()]
    return direct_command(name, following, out, inputs, sys.orig_argv)


def learned_nothing(trainer: L.Trainer) -> bool:
    """Whether the readings without labels saw no difference to an untrained encoder."""
    results = [monitor.result for monitor in trainer.callbacks if isinstance(monitor, LabelFreeMonitor)]
    return any(result is not None and not result.better for result in results)


def longer_command(name: str, steps: int, out: Path) -> str:
    """The same command with more steps, in a run of its own, since a finished folder does not continue."""
    run = f"{out.parent.name or out.name}-longer"
    more = ["--trainer.max_steps", str(steps)]
    if "MAKELEVEL" in os.environ:
        given = dict(word.split("=", 1) for word in make_variables(os.environ.get("MAKEFLAGS", "")))
        arguments = without(shlex.split(given.get("ARGS", "")), "--trainer.max_steps")
        given |= {"RUN": run, "ARGS": shlex.join([*arguments, *more])}
        return shlex.join(["make", name, *(f"{key}={value}" for key, value in given.items())])

    words = sys.orig_argv
    typed = words[words.index("fit") + 1 :] if "fit" in words else []
    rest = without(typed, "--run", "--out", "--trainer.max_steps")
    if f"stages.{name}" in words:
        place = ["--out", str(out.parent.with_name(run) / out.name if out.parent.name else run)]
        return shlex.join(["python", "-m", f"stages.{name}", "fit", *rest, *place, *more])
    place = ["--out", f"{out}-longer"] if options(words, "--out") else ["--run", run]
    return shlex.join(["vjepa", "fit", *(rest or [name]), *place, *more])


def make_variables(flags: str) -> list[str]:
    """The variables given to make on its command line, such as `RUN=own`, which it hands on in MAKEFLAGS."""
    return shlex.split(flags.partition("-- ")[2])


def direct_command(name: str, following: str, out: Path, inputs: Sequence[str], words: Sequence[str]) -> str:
    """The command of the following stage.

    words: The command line of this one, Python's own words included.
    """
    places = [*inputs, "--out", str(following_folder(name, following, out))]
    # A cooldown goes on with the same networks.
    networks = ("--model.encoder", "--model.predictor") if following == "cooldown" else ()
    same = [word.partition("=")[0] for word in words if word.startswith(networks)]
    kept = options(words, "--data.train", "--data.val", *same)
    if not any(word.startswith("stages.") for word in words):
        # `vjepa fit` finds folders and inputs by the name of the run.
        places = places if options(words, "--out") or name == "distil" else []
        ours = options(words, "--run", "--scale", "--task")
        return shlex.join(["vjepa", "fit", following, *ours, *kept, *places])
    # The recipes of the following stage lie beside those of this one.
    configs = [path.replace(f"{name}.yaml", f"{following}.yaml") for path in options(words, "--config")[1::2]]
    found = [word for path in configs if Path(path).is_file() for word in ("--config", path)]
    return shlex.join(["python", "-m", f"stages.{following}", "fit", *found, *kept, *places])


def following_folder(name: str, following: str, out: Path) -> Path:
    """The folder beside this stage's whose name says `following` where this one's says `name`."""
    # A run's own probe, which reads its cooldown, keeps the plain name.
    title = f"distil-{following}" if name == "distil" else following
    # As a word of its own: not in `distilled`, but in `distil_2`.
    renamed, count = re.subn(rf"(?<![a-zA-Z]){name}(?![a-zA-Z])", title, out.name)
    return out.with_name(renamed if count else title)


def options(words: Sequence[str], *names: str) -> list[str]:
    """Those options among the words, each with its value."""
    given: list[str] = []
    for word, value in zip(words, [*words[1:], ""], strict=True):
        option, equals, attached = word.partition("=")
        if option in names:
            given += [option, attached if equals else value]
    return given


def without(words: Sequence[str], *names: str) -> list[str]:
    """The words without those options and their values."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if before not in names and word.partition("=")[0] not in names]

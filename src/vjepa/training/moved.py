"""What old recipes hold: class paths from before the classes moved, and digests among the settings.

Old paths occur in YAML files of users and in `config.yaml` of old runs. Both still work: a stage's command
line calls `accept_old_names` and `current_word` before it parses, and a run's folder applies `current_names`
before it compares recipes.
"""

import yaml
from jsonargparse import get_loader, set_loader

MOVED = {
    "vjepa.callbacks.OptimizerMonitor": "vjepa.training.monitors.OptimizerMonitor",
    "vjepa.callbacks.SpeedMonitor": "vjepa.training.monitors.SpeedMonitor",
    "vjepa.callbacks.DataHealth": "vjepa.training.monitors.DataHealth",
    "vjepa.callbacks.StopOnSignal": "vjepa.training.signals.StopOnSignal",
    "vjepa.callbacks.CollapseMonitor": "vjepa.training.pretraining_monitors.CollapseMonitor",
    "vjepa.callbacks.ReadOut": "vjepa.training.pretraining_monitors.ReadOutMonitor",
    "vjepa.callbacks.LossByDistance": "vjepa.training.pretraining_monitors.LossByDistance",
    "vjepa.pictures.Pictures": "vjepa.training.image_monitor.ImageMonitor",
    "vjepa.samples.Samples": "vjepa.language.sample_answers.SampleAnswers",
}
"""Only callbacks are named by their path in a recipe; all other classes of ours are typed arguments."""


def current_names(tree: object) -> object:
    """The same settings, as YAML holds them, with today's class paths."""
    if isinstance(tree, dict):
        return {key: current_names(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [current_names(value) for value in tree]
    # Any string, and not only a `class_path`, since a callback may also be given by its path alone.
    return MOVED.get(tree, tree) if isinstance(tree, str) else tree


def current_word(word: str) -> str:
    """A word of a command line with today's class path: `--trainer.callbacks+=vjepa.callbacks.DataHealth`."""
    option, equals, value = word.rpartition("=")
    return option + equals + MOVED.get(value, value)


def accept_old_names() -> None:
    """Let the command line read YAML with old class paths."""
    # jsonargparse's own loader, so that everything else in a recipe is read as before.
    load = get_loader("yaml")
    set_loader("yaml", lambda text: without_digest(current_names(load(text))), exceptions=(yaml.YAMLError,))


def without_digest(tree: object) -> object:
    """A run's `config.yaml` without the digests that it held up to version 0.2, which are no settings."""
    is_recipe = isinstance(tree, dict) and "model" in tree
    return {key: value for key, value in tree.items() if key != "digest"} if is_recipe else tree

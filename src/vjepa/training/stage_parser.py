"""What a stage's command line adds to Lightning's parser: plain sentences, plain lists, old class paths."""

import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.command.pages import typed_program
from vjepa.command.parser import PlainParser, call, parser_of_settings
from vjepa.command.yaml_text import load_yaml
from vjepa.errors import UserError
from vjepa.training.moved import current_word
from vjepa.training.run_folder import flat
from vjepa.training.trainer_settings import check_named_classes

LINKED = {
    "checkpoint.dirpath": "--out, whose folder `checkpoints` holds them",
    "model.seed": "--seed_everything",
    "data.seed": "--seed_everything",
}
"""Settings that follow from others: what to give instead. The parser would pass over them in silence."""


class StageParser(PlainParser, LightningArgumentParser):
    """Takes `--data.train mine.csv` for a list of manifests, and `--help_all` for the page of everything."""

    def parse_args(self, args: list[str] | None = None, *rest, **kwargs) -> Namespace:
        words = stage_words(sys.argv[1:] if args is None else args)
        for recipe in recipes_of(words):
            for name in LINKED.keys() & set(keys_of(recipe)):
                raise UserError(f"{recipe}: {name} follows from another setting; give {LINKED[name]}")
        try:
            return super().parse_args(words, *rest, **kwargs)
        except UnicodeDecodeError as error:
            recipes = ", ".join(recipes_of(words))
            raise UserError(f"--config {recipes}: a recipe is a text of YAML, and this is none") from error

    def instantiate(self, *given, **named) -> Namespace:
        try:
            return super().instantiate(*given, **named)
        except ValueError as error:
            # What an optional group of settings refuses arrives among what the library says of its types.
            if isinstance(error.__cause__, UserError):
                raise error.__cause__ from error
            raise

    def sentence(self, message: str) -> str:
        """The complaint, and the recipe that holds the setting in question."""
        check_named_classes(message)
        sentence = super().sentence(message)
        recipes = recipes_of(sys.argv)
        if linked := re.search(r" --> (\S+):", message):
            return f"--{linked[1]} follows from another setting; give {LINKED[linked[1]]}"
        if sentence.startswith("missing:") and not recipes:
            return f"{sentence}; a recipe brings them, such as --config conf/pretrain.yaml"
        if wrong := re.match(r"there is no setting ([^;]+)", sentence):
            holding = [recipe for recipe in recipes if wrong[1] in keys_of(recipe)]
            return f"{holding[-1]}: {sentence}" if holding else sentence
        return sentence


def stage_words(words: list[str]) -> list[str]:
    """The words as the parser knows them: `--help_all` is its `--help`, old class paths are today's."""
    return ["--help" if word == "--help_all" else current_word(word) for word in words]


def run_command(command: Callable[..., None]) -> None:
    """Run the command line of a stage that trains nothing: a function with typed arguments."""
    with mistakes_as_sentences():
        parser = parser_of_settings(command, typed_program())
        options = parser.instantiate(parser.parse_args(stage_words(sys.argv[1:])))
        call(command, options)


def recipes_of(words: list[str]) -> list[str]:
    """The files that `--config` names, the last one on top."""
    apart = [after for word, after in pairwise(words) if word in ("-c", "--config")]
    return apart + [word.partition("=")[2] for word in words if word.startswith("--config=")]


def keys_of(recipe: str) -> list[str]:
    """The dotted keys of a recipe, without places in lists; none if it cannot be read.

    Raises UserError for a text that is no YAML."""
    if not Path(recipe).is_file():  # what a pipe holds can be read once, and the parser needs it
        return []
    try:
        settings = load_yaml(Path(recipe).read_text())
    except (OSError, UnicodeDecodeError):
        return []
    except yaml.YAMLError as error:
        raise UserError(f"{recipe}: not YAML: {' '.join(str(error).split())}") from error
    keys = flat(settings) if isinstance(settings, dict) else {}
    return [".".join(part for part in key.split(".") if not part.isdigit()) for key in keys]

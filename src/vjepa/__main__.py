"""Every command of the library: `python -m vjepa NAME --help`.

A command is a typed function that Python can call with the same arguments. Its positional parameters are
positional arguments here too, and its keyword-only parameters are options. A parameter `config` that is a
dataclass gives one option for each of its fields. A user's mistake (`UserError`) ends a command with one
sentence and status 2. Stages have their own commands: `python -m stages.NAME`.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from typing import get_args, get_origin

from docstring_parser import parse
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from vjepa.errors import UserError

# Paths instead of imports: a command loads only what it needs, and extras such as MuJoCo may be missing.
COMMANDS = {
    "check-manifest": "vjepa.data.check:check_manifest",
    "check-conversations": "vjepa.language.check:check_conversations",
    "features": "vjepa.features.extraction:extract",
    "neighbours": "vjepa.features.neighbours:neighbours",
    "landscape": "vjepa.planning.recorded_landscape:landscape",
    "ask": "vjepa.language.ask:ask",
    "evaluate": "vjepa.benchmarks.video_questions:evaluate_files",
    "report": "vjepa.evaluation.report:report",
    "sweep": "vjepa.training.sweep:run_sweep",
    "untrained": "vjepa.weights.untrained:untrained",
    "tiny-language-model": "vjepa.language.tiny_language_model:train_on_files",
    "record-clips": "vjepa.sim.recording.record:record",
    "record-robot": "vjepa.sim.recording.robot_episodes:record_robot",
    "record-questions": "vjepa.sim.recording.questions:record_questions",
    "gallery": "vjepa.sim.recording.gallery:gallery",
    "bench-recording": "vjepa.sim.recording.speed:bench_recording",
    "bench-planning": "vjepa.benchmarks.planning_speed:bench_planning",
    "bench-probe-grid": "vjepa.benchmarks.probe_grid_speed:bench_probe_grid",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the first argument names with the arguments after it."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in ("-h", "--help"):
        print("usage: python -m vjepa NAME ...\n\n  " + "\n  ".join(COMMANDS))
        return
    if name not in COMMANDS:
        exit_with(f"there is no command {name!r}; give one of {', '.join(COMMANDS)}")
    try:
        function = load(COMMANDS[name])
        parser = parser_of(name, function)
        call(function, parser.instantiate(parser.parse_args(rest)))
    except UserError as error:
        exit_with(str(error))
    except OSError as error:
        # A file that cannot be read or written is the user's to mend, whichever command met it.
        exit_with(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def exit_with(sentence: str) -> None:
    """Exit with status 2, the status of all mistakes that a user can correct."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(2)


def load(target: str) -> Callable:
    """The function that `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def parser_of(name: str, function: Callable) -> ArgumentParser:
    """One argument for each parameter of the function, or for each field of its config."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    # Only the summary: the arguments below it have help texts of their own.
    summary = (inspect.getdoc(function) or "").partition("\n\n")[0]
    parser = ArgumentParser(prog=f"python -m vjepa {name}", description=summary)
    parameters = inspect.signature(function).parameters
    # The fields become options without a prefix, and `call` puts them together again.
    if config := parameters.get("config"):
        parser.add_class_arguments(config.annotation)
        return parser
    # jsonargparse takes a list as one argument, in YAML; here it is several words, as in `--by letter open`.
    by_hand = {key: p for key, p in parameters.items() if is_positional(p) or is_list(p)}
    parser.add_function_arguments(function, skip=set(by_hand), as_positional=False)
    helps = {entry.arg_name: entry.description for entry in parse(function.__doc__ or "").params}
    for key, parameter in by_hand.items():
        add_by_hand(parser, key, parameter, helps.get(key))
    return parser


def is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not parameter.KEYWORD_ONLY


def is_list(parameter: inspect.Parameter) -> bool:
    """Whether the parameter is a list, or a tuple of any number of texts."""
    origin = get_origin(parameter.annotation)
    element, *others = get_args(parameter.annotation) or (None,)
    # Numbers stay with jsonargparse, which takes them as `[1,2]`, as in the fields of a config.
    return origin is list or (origin is tuple and others == [...] and element not in (int, float))


def add_by_hand(parser: ArgumentParser, name: str, parameter: inspect.Parameter, help: str | None) -> None:
    """Add what jsonargparse does not derive: a positional argument, or an option with several values."""
    settings: dict = {"type": parameter.annotation, "help": help}
    # With several words, the type is that of each word.
    if is_list(parameter):
        settings |= {"type": get_args(parameter.annotation)[0], "nargs": "+"}
    if is_positional(parameter):
        parser.add_argument(name, **settings)
    elif parameter.default is parameter.empty:
        parser.add_argument(f"--{name}", required=True, **settings)
    else:
        default = list(parameter.default) if is_list(parameter) else parameter.default
        parser.add_argument(f"--{name}", default=default, **settings)


def call(function: Callable, options: Namespace) -> None:
    """Call the function with what was parsed."""
    parameters = inspect.signature(function).parameters
    config = parameters.get("config")
    if config and is_dataclass(config.annotation):
        function(config.annotation(**options.as_dict()))
    else:
        arguments = {key: value for key, value in vars(options).items() if key in parameters}
        # The parser gives lists, whatever the annotation.
        for key, value in arguments.items():
            if isinstance(value, list) and get_origin(parameters[key].annotation) is tuple:
                arguments[key] = tuple(value)
        function(**arguments)


if __name__ == "__main__":
    main()

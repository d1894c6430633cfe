"""The parser of a command: one argument for each parameter of a typed function.

Positional parameters are positional arguments, keyword-only parameters are options. A parameter `config` that
is a dataclass gives one option for each of its fields.
"""

import argparse
import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import NoReturn, Union, get_args, get_origin

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, set_parsing_settings

from vjepa.command.suggestions import explain
from vjepa.command.yaml_text import check_all_yaml, load_yaml
from vjepa.errors import UserError

check_all_yaml()


class PlainParser(ArgumentParser):
    """A parser whose complaints are one sentence, and which takes `--by letter open` for a list."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UserError(self.sentence(message)) from ex

    def sentence(self, message: str) -> str:
        """The complaint in plain words."""
        return explain(message, list(known_keys(types_of(self))))

    def parse_args(self, args: Sequence[str], *rest, **kwargs) -> Namespace:
        options = super().parse_args(joined(args, types_of(self)), *rest, **kwargs)
        for key, value in vars(options.as_flat()).items():
            check_finite(key.removeprefix(f"{options.get('subcommand')}."), value)
        return options

    def _check_value_key(self, action: argparse.Action, value: object, *rest, **kwargs) -> object:
        """The hook of jsonargparse through which each value of a YAML file passes."""
        value = wrapped(value, getattr(action, "_typehint", None))
        return super()._check_value_key(action, value, *rest, **kwargs)


def types_of(parser: ArgumentParser) -> dict[str, object]:
    """The type of each option, those of subcommands included. An option's name has no `--` here."""
    types = {}
    for action in parser._actions:
        types |= {
            name.removeprefix("--"): getattr(action, "_typehint", None) for name in action.option_strings
        }
        # Subcommands are an action whose choices are parsers.
        for inner in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            types |= types_of(inner)
    return types


def known_keys(types: dict[str, object]) -> Iterator[str]:
    """All keys, those inside lists of configs included: `data.train.manifest`."""
    for key, kind in types.items():
        yield key
        element = (get_args(without_none(kind)) or (kind,))[0]
        if is_dataclass(element):
            yield from (f"{key}.{field.name}" for field in fields(element))


def joined(words: Sequence[str], types: dict[str, object]) -> list[str]:
    """The words with one value for each option: `--by letter open` -> `--by ["letter","open"]`.

    A switch such as `--film` becomes `--film=true`.
    """
    queue = list(words)
    done = []
    while queue:
        option, equals, value = (word := queue.pop(0)).partition("=")
        kind = types.get(option.removeprefix("--")) if option.startswith("--") else None
        check_word(word, done[-1] if done else "", types)
        if kind is bool and not equals and queue[:1] not in (["true"], ["false"]):
            done.append(f"{option}=true")
        elif not is_listed(kind):
            done.append(word)
        else:
            values = [value] if equals else []
            while not equals and queue and not queue[0].startswith("--"):
                values.append(queue.pop(0))
            done += [option, as_yaml(values, kind)] if values else [option]
    return done


def check_word(word: str, before: str, types: dict[str, object]) -> None:
    """Raise UserError for a word that is not UTF-8, and for an empty path, which would mean `.`.

    Shells make an empty word of a variable that is not set.
    """
    option, equals, value = word.partition("=")
    # Python holds bytes that are no UTF-8 as halves of letters, which no encoding has.
    if any("\ud800" <= letter <= "\udfff" for letter in word):
        raise UserError(f"the name {word!r} is not UTF-8; rename it")
    if word and (value or not equals):
        return
    option = option or before
    is_path = without_none(types.get(option.removeprefix("--"))) is Path
    if is_path or not option.startswith("--"):
        raise UserError(f"{option if is_path else 'a word'} is empty; give a path, or leave it out")


def check_finite(key: str, value: object) -> None:
    """Raise UserError for a number in the value that is NaN or infinite: no setting is."""
    if isinstance(value, Namespace):
        value = list(vars(value).values())
    if isinstance(value, list | tuple):
        for element in value:
            check_finite(key, element)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{key} {value}: a finite number is expected")


def is_listed(kind: object) -> bool:
    """Whether plain words may stand for a value of this type: a list, or a config that a path makes."""
    kind = without_none(kind)
    return get_origin(kind) in (list, tuple) or is_source(kind)


def is_source(kind: object) -> bool:
    """Whether the type is a dataclass that needs nothing but a text, such as a manifest's path."""
    return is_dataclass(kind) and [field.type in (str, "str") for field in needed_fields(kind)] == [True]


def needed_fields(kind: object) -> list[Field]:
    """The fields of a dataclass that have no default."""
    return [field for field in fields(kind) if field.default is field.default_factory is MISSING]


def without_none(kind: object) -> object:
    """X for `X | None`; any other type as it is."""
    inner = [part for part in get_args(kind) if part is not type(None)]
    return inner[0] if get_origin(kind) in (Union, UnionType) and len(inner) == 1 else kind


def as_yaml(values: list[str], kind: object) -> str:
    """One value from the words that were typed for it. What is YAML already stays YAML."""
    kind = without_none(kind)
    first = values[0]
    if len(values) == 1 and (first in ("null", "") or is_yaml_file(first)):
        return first
    if len(values) == 1 and first[:1] in "[{":
        return wrapped_yaml(first, kind)
    if is_source(kind):
        return json.dumps(wrapped(values[0], kind)) if len(values) == 1 else " ".join(values)
    if get_args(kind)[0] in (int, float, bool):
        return f"[{','.join(values)}]"
    return json.dumps(wrapped(values, kind))


def wrapped_yaml(text: str, kind: object) -> str:
    """What was typed as YAML, such as `[mine.csv, other.csv]` or `{manifest: a.csv}`, as its type has it."""
    try:
        value = load_yaml(text)
    except yaml.YAMLError:
        value = text  # such as a file whose name begins with a bracket
    return json.dumps(wrapped(value, kind), default=str)


def wrapped(value: object, kind: object) -> object:
    """A single value as the list, and a path as the config, that its type asks for: `mine.csv` for a list of
    manifests becomes `[{"manifest": "mine.csv"}]`. Any other value stays as it is."""
    kind = without_none(kind)
    if value is None or not is_listed(kind):
        return value
    element = kind if is_source(kind) else get_args(kind)[0]
    if is_source(element) and is_yaml_file(value):
        return value  # the file holds the settings
    if is_source(kind):
        return as_source(value, kind)
    values = list(value) if isinstance(value, list | tuple) else [value]
    return [as_source(value, element) for value in values]


def is_yaml_file(value: object) -> bool:
    return isinstance(value, str) and value.endswith((".yaml", ".yml"))


def as_source(value: object, kind: object) -> object:
    """`mine.csv` -> `{"manifest": "mine.csv"}`, by the one field without a default; all else as it is."""
    return {needed_fields(kind)[0].name: value} if is_source(kind) and isinstance(value, str) else value


def parser_of(function: Callable, prog: str) -> PlainParser:
    """One argument for each parameter of the function, or for each field of its config."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = PlainParser(prog=prog, allow_abbrev=False)
    parameters = inspect.signature(function).parameters
    # The fields become options without a prefix, and `call` puts them together again.
    if config := parameters.get("config"):
        parser.add_class_arguments(config.annotation)
        return parser
    words = {key: parameter for key, parameter in parameters.items() if is_positional(parameter)}
    parser.add_function_arguments(function, skip=set(words), as_positional=False)
    for key, parameter in words.items():
        parser.add_argument(key, **positional(parameter))
    return parser


def parser_of_settings(function: Callable, prog: str) -> PlainParser:
    """The same where every parameter is an option, and YAML files of settings are read too."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = PlainParser(prog=prog, allow_abbrev=False, description=inspect.getdoc(function))
    parser.add_argument("--config", action=ActionConfigFile, help="YAML of settings.")
    parser.add_function_arguments(function, as_positional=False, sub_configs=True)
    return parser


def is_positional(parameter: inspect.Parameter) -> bool:
    return parameter.kind is not parameter.KEYWORD_ONLY


def positional(parameter: inspect.Parameter) -> dict:
    """How argparse takes a positional argument: one word, or one or more for a list."""
    kind = without_none(parameter.annotation)
    is_list = get_origin(kind) in (list, tuple)
    settings = {"type": get_args(kind)[0] if is_list else kind}
    if parameter.default is parameter.empty:
        return settings | ({"nargs": "+"} if is_list else {})
    return settings | {"nargs": "*" if is_list else "?", "default": parameter.default}


def call(function: Callable, options: Namespace) -> object:
    """Call the function with what was parsed."""
    parameters = inspect.signature(function).parameters
    config = parameters.get("config")
    if config and is_dataclass(config.annotation):
        return function(config.annotation(**options.as_dict()))
    return function(**dict(named_values(parameters, options)))


def named_values(parameters: Mapping[str, inspect.Parameter], options: Namespace) -> Iterator[tuple]:
    """The values by parameter. The parser gives lists, whatever the annotation."""
    for key, value in vars(options).items():
        if key in parameters:
            is_tuple = get_origin(without_none(parameters[key].annotation)) is tuple
            yield key, tuple(value) if is_tuple and isinstance(value, list) else value

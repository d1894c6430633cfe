"""Settings that a file names, as the dataclass that they were: values of JSON, each of the right type.

    settings(EncoderConfig, {"width": 384, "depth": 12, "heads": 6, "mlp_width": 1536})
    values(text)    # of a JSON text in which no name stands twice

A number in quotes, or `2.0` heads, would build a network that fails or differs later on.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vjepa.errors import require

Settings = TypeVar("Settings")


def settings(kind: type[Settings], given: Any) -> Settings:
    """A dataclass of the given values; those that are missing keep their default.

    Raises UserError that names a value of another type, and a setting that is not known or is missing.
    """
    name = kind.__name__
    require(isinstance(given, Mapping), f"{name} is a {type(given).__name__}; expected its settings by name")
    types = get_type_hints(kind)
    unknown = [key for key in given if key not in types]
    require(not unknown, f"{name} has no setting {unknown[:1]}; it is damaged, or of a newer version")
    typed = {key: without_lists(value) for key, value in given.items()}
    for key, value in typed.items():
        expected = text_of(types[key])
        require(fits(types[key], value), f"{name}.{key} is {repr(value)[:80]}; expected {expected}")
    needed = [field.name for field in fields(kind) if field.default is field.default_factory]
    missing = [key for key in needed if key not in typed]
    require(not missing, f"{name} lacks {', '.join(missing)}")
    return kind(**typed)


def fits(kind: Any, value: Any) -> bool:
    """Whether a value is of a type, as annotations name it: 2 is a float too, and true is no number."""
    origin = get_origin(kind)
    choices = get_args(kind)
    if origin is Literal:
        return value in choices
    if origin in (Union, UnionType):
        return any(fits(choice, value) for choice in choices)
    if origin is tuple:
        kinds = choices[:1] * len(value) if isinstance(value, tuple) and choices[1:] == (...,) else choices
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(fits, kinds, value))
    if kind is float:
        return type(value) in (int, float) and abs(value) < float("inf")  # which NaN is not either
    return isinstance(value, origin or kind) and not (kind is int and isinstance(value, bool))


def text_of(kind: Any) -> str:
    """The name of a type in a sentence."""
    return str(kind).replace("typing.", "") if get_args(kind) else kind.__name__


def without_lists(value: Any) -> Any:
    """The value with tuples in place of lists, which JSON writes for them."""
    return tuple(map(without_lists, value)) if isinstance(value, list) else value


def values(text: str) -> Any:
    """The values of a JSON text. Raises ValueError for a name that stands twice, of which one would win."""
    return json.loads(text, object_pairs_hook=named_once)


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a name that stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
    return found

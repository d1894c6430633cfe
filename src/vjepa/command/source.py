"""What a function or a class takes, read from its source without importing it.

A help page needs names, types, defaults and texts. Importing them would take seconds, most of them for torch,
and would fail where an extra is missing.
"""

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from docstring_parser import parse

KINDS = {"int": "INT", "float": "NUMBER", "str": "TEXT", "Path": "PATH", "bool": "{true,false}"}


class Argument(NamedTuple):
    """One argument of a command."""

    name: str
    """Dotted, for a field of a config: `sheet.queries`."""
    kind: str
    """What is to be typed: PATH, TEXT, {mean,frame}."""
    default: str | None
    """None if the argument is required; empty if there is no default worth a word."""
    help: str
    positional: bool = False


class Definition(NamedTuple):
    """A class, function or value, and the module in which its names have their meaning."""

    module: str
    node: ast.AST


class Parameter(NamedTuple):
    """A parameter of a function, or a field of a dataclass."""

    name: str
    annotation: ast.AST
    default: ast.AST | None
    help: str
    positional: bool = False


def definition(target: str) -> Definition:
    """What `module:name` names, through imports. Raises LookupError if our source does not define it."""
    module, _, name = target.partition(":")
    for node in tree_of(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return Definition(module, node)
        if isinstance(node, ast.Assign) and any(ast.unparse(left) == name for left in node.targets):
            return Definition(module, node.value)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("vjepa", "stages"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return definition(f"{node.module}:{alias.name}")
    raise LookupError(f"{module} does not define {name}")


def defines(module: str, name: str) -> bool:
    """Whether our source says what a name means in a module."""
    try:
        return definition(f"{module}:{name}") is not None
    except LookupError:
        return False


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def file_of(module: str) -> Path:
    """The file of one of our modules; its parents are not imported either."""
    root, *inside = module.split(".")
    path = Path(find_spec(root).submodule_search_locations[0], *inside)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def summary(node: ast.AST) -> str:
    """The first paragraph of a docstring."""
    return (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")


def arguments(target: str) -> list[Argument]:
    """The arguments of the command that `module:function` is, in the order of its parameters."""
    module, function = definition(target)
    found = []
    for parameter in parameters(function):
        # The fields of a parameter `config` are options without a prefix.
        name = "" if parameter.name == "config" else parameter.name
        found += expanded(module, parameter._replace(name=name))
    return found


def parameters(function: ast.FunctionDef) -> Iterator[Parameter]:
    """The parameters of a function, with the texts of its docstring's `Args`."""
    # The parser of docstrings takes the first line's indentation for that of all if nothing is before it.
    docstring = parse("\n" + (ast.get_docstring(function) or ""))
    helps = {entry.arg_name: " ".join((entry.description or "").split()) for entry in docstring.params}
    positional = [argument for argument in function.args.args if argument.arg != "self"]
    absent = [None] * (len(positional) - len(function.args.defaults))
    defaults = [*absent, *function.args.defaults]
    for argument, default in zip(positional, defaults, strict=False):
        yield Parameter(argument.arg, argument.annotation, default, helps.get(argument.arg, ""), True)
    for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
        yield Parameter(argument.arg, argument.annotation, default, helps.get(argument.arg, ""))


def expanded(module: str, parameter: Parameter) -> list[Argument]:
    """The parameter as one argument; as one for each field, if it is a config."""
    config = dataclass_of(module, parameter.annotation)
    if config is None:
        default = default_text(module, parameter.default)
        kind = kind_text(module, parameter.annotation)
        return [Argument(parameter.name, kind, default, parameter.help, parameter.positional)]
    given, known = overridden(parameter.default)
    found = []
    for place, field in fields(config):
        inner = field._replace(name=f"{parameter.name}.{field.name}".lstrip("."))
        if field.name in given:
            inner = inner._replace(default=given[field.name])
        elif not known and field.default is not None:
            inner = inner._replace(default=ast.Constant(None))
        found += expanded(place, inner)
    return found


def overridden(default: ast.AST | None) -> tuple[dict[str, ast.AST], bool]:
    """Fields that a default such as `Sheet(rows=2)` gives, and whether the others are the class's."""
    default = unwrapped(default)
    if default is None:
        return {}, True
    plain = isinstance(default, ast.Call) and isinstance(default.func, ast.Name) and not default.args
    return ({word.arg: word.value for word in default.keywords}, True) if plain else ({}, False)


def unwrapped(default: ast.AST | None) -> ast.AST | None:
    """The value in `field(default_factory=lambda: value)`; any other default as it is."""
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        value = default.keywords[0].value
        if isinstance(value, ast.Lambda):
            return value.body
        return ast.Call(value, [], []) if default.keywords[0].arg == "default_factory" else value
    return default


def dataclass_of(module: str, annotation: ast.AST) -> Definition | None:
    """The dataclass that an annotation names, if it names one of ours."""
    if not isinstance(annotation, ast.Name) or not defines(module, annotation.id):
        return None
    found = definition(f"{module}:{annotation.id}")
    decorators = [ast.unparse(decorator) for decorator in getattr(found.node, "decorator_list", [])]
    return found if any(decorator.startswith("dataclass") for decorator in decorators) else None


def fields(config: Definition) -> Iterator[tuple[str, Parameter]]:
    """The fields of a dataclass, those of its bases first, each with the module of its names."""
    for base in config.node.bases:
        if parent := dataclass_of(config.module, base):
            yield from fields(parent)
    body = config.node.body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            text = after.value if isinstance(after, ast.Expr) else None
            help = " ".join(text.value.split()) if isinstance(text, ast.Constant) else ""
            yield config.module, Parameter(node.target.id, node.annotation, node.value, help)


def kind_text(module: str, annotation: ast.AST) -> str:
    """What is to be typed for a type."""
    match annotation:
        case ast.BinOp(left=left):  # `X | None`
            return kind_text(module, left)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            return "{" + ",".join(str(value) for value in ast.literal_eval(choices_tuple(choices))) + "}"
        case ast.Subscript(value=ast.Name(id="list" | "tuple"), slice=inner):
            element = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            return f"{kind_text(module, element)} ..."
        case ast.Name(id=name) if name in KINDS:
            return KINDS[name]
        case ast.Name(id=name):
            return named_kind(module, name)
    return "VALUE"


def choices_tuple(choices: ast.AST) -> ast.Tuple:
    return choices if isinstance(choices, ast.Tuple) else ast.Tuple([choices], ast.Load())


def named_kind(module: str, name: str) -> str:
    """The kind of a type that has a name of its own, such as `Pool = Literal[...]`."""
    if not defines(module, name):
        return "VALUE"
    found = definition(f"{module}:{name}")
    if not isinstance(found.node, ast.ClassDef):
        return kind_text(*found)
    needed = [field for _, field in fields(found) if field.default is None]
    # A config that needs nothing but a text is made from a path, such as that of a manifest.
    is_path = len(needed) == 1 and ast.unparse(needed[0].annotation) == "str"
    return "PATH" if is_path else "SETTINGS"


def default_text(module: str, default: ast.AST | None) -> str | None:
    """A default as one would type it; None if there is none, empty for `None`."""
    match unwrapped(default):
        case None:
            return None
        case ast.Constant(value=None):
            return ""
        case ast.Constant(value=bool(value)):
            return str(value).lower()
        case ast.Constant(value=value):
            return str(value)
        case ast.Call(func=ast.Name(id="Path"), args=[value]):
            return default_text(module, value)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return " ".join(default_text(module, element) for element in elements)
        case ast.Name(id=name) if defines(module, name):
            return default_text(*definition(f"{module}:{name}"))
    return ""

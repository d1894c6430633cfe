"""The help pages, made from the source on every call: no import of torch, and nothing that could be stale."""

import ast
import sys
import textwrap
from collections.abc import Iterable, Sequence

import yaml

from vjepa.command.recipes import recipe_folder, recipe_names
from vjepa.command.source import (
    Argument,
    Definition,
    arguments,
    default_text,
    definition,
    kind_text,
    parameters,
    summary,
    tree_of,
)
from vjepa.command.table import GROUPS, STAGE_COMMANDS, STAGES, Entry

WIDTH = 100
COLUMN = 34
"""Where texts begin, in characters; a longer name has a line of its own."""

TRAINER = (
    ("--seed_everything INT", "Seed of weights, masks and order."),
    ("--trainer.max_steps INT", "Steps of the optimiser."),
    ("--trainer.accelerator TEXT", "auto, cpu, gpu, mps."),
    ("--trainer.devices INT", "How many of them."),
    (
        "--trainer.precision TEXT",
        "bf16-mixed, 16-mixed, 32-true; by default what the hardware has.",
    ),
    ("--print_config", "Print all settings, resolved, and exit."),
    ("--help_all", "Every setting of stage, data and Trainer, with its text (takes seconds)."),
)


def typed_program() -> str:
    """What was typed before the arguments: `vjepa`, or `python -m stages.ac`."""
    if "-m" in sys.orig_argv[:-1]:
        module = sys.orig_argv[sys.orig_argv.index("-m") + 1]
        if module.partition(".")[0] in ("vjepa", "stages"):
            return f"python -m {module}"
    return "vjepa"


def root_page() -> str:
    """All commands in groups, with one line for each."""
    program = typed_program()
    lines = [
        f"usage: {program} COMMAND ...",
        "",
        "V-JEPA 2: learn from video without labels, and use what was learnt.",
    ]
    for title, group in GROUPS.items():
        lines += ["", title]
        if title == "train":
            lines += rows((f"{name} STAGE", text) for name, text in STAGE_COMMANDS.items())
        lines += rows((words, command.line) for words, command in group.items())
    lines += ["", "stages", *wrapped(", ".join(STAGES), "  ")]
    return "\n".join([*lines, "", f"{program} COMMAND --help explains a command."])


def group_page(word: str, commands: dict[str, Entry]) -> str:
    """The commands whose first word this is."""
    lines = [f"usage: {typed_program()} {word} COMMAND ...", ""]
    return "\n".join([*lines, *rows((words, command.line) for words, command in commands.items())])


def command_page(start: str, target: str, *, reads_recipes: bool = False) -> str:
    """One command: what it does, and its arguments. `start` is what was typed for it.

    Where recipes are read, every argument is an option, which a recipe may hold.
    """
    taken = arguments(target)
    placed = [] if reads_recipes else [argument for argument in taken if is_placed(argument)]
    required = [argument for argument in taken if argument not in placed and argument.default is None]
    optional = [argument for argument in taken if argument not in placed and argument not in required]
    usage = ["usage:", start, "[--config FILE.yaml ...]" if reads_recipes else ""]
    usage += [option_of(argument) for argument in required]
    usage += ["[--OPTION VALUE ...]" if optional else ""]
    usage += [f"{argument.name.upper()}{' ...' * argument.kind.endswith('...')}" for argument in placed]
    lines = wrapped(" ".join(filter(None, usage)), "")
    lines += ["", *wrapped(summary(definition(target).node), "")]
    lines += section("arguments", ((argument.name.upper(), text_of(argument)) for argument in placed))
    for title, group in {"required": required, "options": optional}.items():
        lines += section(title, ((option_of(argument), text_of(argument)) for argument in group))
    return "\n".join(lines)


def is_placed(argument: Argument) -> bool:
    """Whether the argument is a word by itself, without the name of an option."""
    return argument.positional and "." not in argument.name


def option_of(argument: Argument) -> str:
    """`--frames INT`; without a value where naming the option is enough to turn it on."""
    is_switch = argument.kind == "{true,false}" and argument.default == "false"
    return f"--{argument.name}" if is_switch else f"--{argument.name} {argument.kind}"


def stages_page(command: str) -> str:
    """`vjepa fit --help`: which stages there are."""
    options = "[--scale SIZE] [--task DATA] [--run NAME] [--SETTING VALUE ...]"
    lines = [
        f"usage: {typed_program()} {command} STAGE {options}",
        "",
        f"{STAGE_COMMANDS[command].capitalize()}.",
        "",
        "stages",
    ]
    # align and vlm are two phases of one stage, so the recipe says which is meant.
    lines += rows((name, recipe_title(name)) for name in STAGES)
    return "\n".join([*lines, "", f"{typed_program()} {command} STAGE --help explains a stage."])


def recipe_title(stage: str) -> str:
    """The first sentence of a recipe's comment."""
    text = (recipe_folder() / f"{stage}.yaml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("# ").partition(":")[0].partition(" (V-JEPA")[0]


def stage_page(stage: str, start: str, with_recipe: bool) -> str:
    """One stage: what it is, and the settings that people change. `start` is what was typed for it."""
    module = STAGES[stage]
    says = ast.get_docstring(tree_of(module))
    first, _, _ = says.partition("\n\n")
    recipe = recipe_folder() / f"{stage}.yaml"
    usage = f"usage: {start} [--config FILE.yaml ...] [--SETTING VALUE ...]"
    lines = [*wrapped(first, ""), "", *wrapped(usage, "")]
    lines += section("places", places(recipe_folder(), with_recipe))
    model, data = stage_parts(module)
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    for prefix, part in (("model", model), ("data", data)):
        lines += section(
            f"settings of the {prefix}; [in the demo]", settings(prefix, part, values.get(prefix, {}))
        )
    return "\n".join([*lines, *section("settings of every stage", TRAINER)])


def places(folder, with_recipe: bool) -> list[tuple[str, str]]:
    """Options that say which recipe is run, and where."""
    overlays = [
        ("--scale SIZE", f"A size: {', '.join(recipe_names('scale', folder))}."),
        ("--task DATA", f"A data set: {', '.join(recipe_names('task', folder))}."),
        ("--run NAME", "Folder under runs/, from which the outputs of earlier stages are taken too (demo)."),
    ]
    own = [
        ("--config FILE.yaml", "A recipe; a second one is laid over the first, key by key."),
        ("--out FOLDER", "Folder of this run: checkpoints, TensorBoard, export."),
    ]
    return [*overlays, *own] if with_recipe else own


def stage_parts(module: str) -> tuple[Definition, Definition]:
    """The classes of a stage and of its data: the two that its last line, `run(Stage, Data)`, names."""
    calls = [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    (start,) = [node for node in calls if ast.unparse(node.func) == "run"]
    model, data = [definition(f"{module}:{name.id}") for name in start.args]
    return model, data


def settings(prefix: str, part: Definition, recipe: dict) -> Iterable[tuple[str, str]]:
    """The parameters of a class with their texts, and the values that the demo's recipe gives them."""
    module, function = constructor(part)
    for parameter in parameters(function):
        kind = kind_text(module, parameter.annotation)
        name = f"--{prefix}.{parameter.name}" + (".*" if kind == "SETTINGS" else f" {kind}")
        value = plain(recipe.get(parameter.name, default_text(module, parameter.default)))
        shown = f" [{value}]" if value and kind != "SETTINGS" else ""
        # The seed of model and data is that of --seed_everything.
        if parameter.name != "seed":
            yield name, parameter.help + shown


def plain(value: object) -> str:
    """A value of a recipe as one would type it; empty for none."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return " ".join(plain(element) for element in value)
        case dict():  # such as {folder: data/robot/val}
            return " ".join(plain(element) for element in value.values())
    return str(value)


def constructor(part: Definition) -> Definition:
    """The `__init__` of a class, or that of its base."""
    for node in part.node.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return Definition(part.module, node)
    return constructor(definition(f"{part.module}:{part.node.bases[0].id}"))


def text_of(argument: Argument) -> str:
    shown = argument.default if argument.default != "false" else ""
    return argument.help + (f" ({shown})" if shown else "")


def section(title: str, entries: Iterable[tuple[str, str]]) -> list[str]:
    lines = rows(entries)
    return ["", title, *lines] if lines else []


def rows(entries: Iterable[tuple[str, str]]) -> list[str]:
    """Names and texts in two columns."""
    lines = []
    for name, text in entries:
        filled = wrapped(text, " " * COLUMN) or [""]
        short = len(name) + 4 <= COLUMN
        lines += [f"  {name}".ljust(COLUMN) + filled[0].lstrip()] if short else [f"  {name}", filled[0]]
        lines += filled[1:]
    return [line.rstrip() for line in lines]


def wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=indent or "    ", break_on_hyphens=False
    )


def wants_help(words: Sequence[str]) -> bool:
    return "-h" in words or "--help" in words

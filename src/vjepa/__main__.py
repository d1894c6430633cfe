"""The command `vjepa`, which is also `python -m vjepa`: `vjepa --help` lists all commands.

A command is a typed function that Python can call with the same arguments (`vjepa.command.table`). A user's
mistake ends it with one sentence and status 2. This module alone starts stages, by name.
"""

import runpy
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version

from vjepa.command.exit_status import exit_on_signals
from vjepa.command.mistakes import mistakes_as_sentences
from vjepa.command.pages import (
    command_page,
    group_page,
    root_page,
    stage_page,
    stages_page,
    typed_program,
    wants_help,
)
from vjepa.command.stage_line import stage_line
from vjepa.command.suggestions import did_you_mean
from vjepa.command.table import COMMANDS, FORMER, STAGE_COMMANDS, STAGES, Entry
from vjepa.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the first words name with the words after them."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    with mistakes_as_sentences():
        if not words or words[0] in ("-h", "--help"):
            print(root_page())
        elif words[0] == "--version":
            print(version("vjepa"))
        elif words[0] in STAGE_COMMANDS:
            start_stage(words[0], words[1:])
        else:
            start_command(words)


def start_stage(command: str, words: Sequence[str]) -> None:
    """`fit pretrain ...`: the stage's program, as `python -m stages.pretrain` runs it."""
    stage, *rest = words or ["--help"]
    if stage in ("-h", "--help"):
        print(stages_page(command))
    elif wants_help(rest) and stage in STAGES:
        print(stage_page(stage, f"{typed_program()} {command} {stage}", with_recipe=True))
    elif "--help_all" in rest and stage in STAGES:
        run_stage(STAGES[stage], [command, "--help_all"])
    else:
        line = stage_line(command, stage, rest)
        run_stage(line.module, line.words)


def run_stage(module: str, words: Sequence[str]) -> None:
    """Run a stage in this process. Its processes on other GPUs find it by its name."""
    exit_on_signals()
    sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def start_command(words: Sequence[str]) -> None:
    """Run a command of the table, or show its page."""
    name, rest = command_of(words)
    if name not in COMMANDS:
        print(group_page(name, commands_of(name)))
    elif wants_help(rest):
        print(command_page(f"{typed_program()} {name}", COMMANDS[name].target))
    else:
        run_command_of_table(name, rest)


def command_of(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The name of a command, of one word or two, and the words after it; or the name of a group alone.

    Raises UserError if there is no such command; the sentence names the nearest.
    """
    for count in (2, 1):
        if (name := " ".join(words[:count])) in COMMANDS:
            return name, words[count:]
    word = words[0]
    if word in FORMER:
        raise UserError(f"{word!r} is now {FORMER[word]!r}")
    group = commands_of(word)
    if group and (len(words) == 1 or wants_help(words[1:2])):
        return word, []
    given = " ".join(words[:2]) if group else word
    known = group or [*COMMANDS, *STAGE_COMMANDS, *STAGES]
    near = did_you_mean(given, known) or f"; {typed_program()} --help lists all commands"
    if word in STAGES:
        near = f"; did you mean fit {word}?"
    raise UserError(f"there is no command {given!r}{near}")


def commands_of(word: str) -> dict[str, Entry]:
    """The commands of two words that begin with this one."""
    return {name: command for name, command in COMMANDS.items() if name.startswith(f"{word} ")}


def run_command_of_table(name: str, words: Sequence[str]) -> None:
    """Parse the words as the function's arguments, and call it."""
    # Imported here, since the lists and pages above need no parser.
    from vjepa.command.parser import call, parser_of

    function = load(COMMANDS[name].target)
    parser = parser_of(function, f"{typed_program()} {name}")
    call(function, parser.instantiate(parser.parse_args(words)))


def load(target: str) -> Callable:
    """The function that `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    main()

"""A stage as a program: its help before torch is imported, mistakes of imports as sentences."""

import sys

from vjepa.command.exit_status import exit_on_signals
from vjepa.command.mistakes import tell_at_exit
from vjepa.command.pages import command_page, stage_page, typed_program, wants_help
from vjepa.command.table import STAGES


def begin_stage() -> None:
    """Call this before a stage's imports. Does nothing unless `python -m stages.<stage>` is what runs."""
    program = typed_program()
    module = program.removeprefix("python -m ")
    if not module.startswith("stages."):
        return
    exit_on_signals()
    tell_at_exit()
    if not wants_help(sys.orig_argv):
        return
    names = [stage for stage, place in STAGES.items() if place == module]
    if names:
        print(stage_page(names[-1], f"{program} {{fit,validate,test}}", with_recipe=False))
    else:  # a stage that trains nothing is a function of its own name
        print(command_page(program, f"{module}:{module.partition('.')[2]}", reads_recipes=True))
    raise SystemExit(0)

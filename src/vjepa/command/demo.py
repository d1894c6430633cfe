"""The command `demo`: record, pretrain, cool down, probe, and the table of scores, as `make demo` does."""

import shlex
import subprocess
import sys
from pathlib import Path

from vjepa.command.stage_line import stage_line
from vjepa.errors import check_seed, require

DEMO_STAGES = ("pretrain", "cooldown", "probe")


def demo(*, run: str = "demo", clips: int = 1600, seed: int = 0) -> None:
    """Record clips of a simulated robot arm, learn an encoder from them, and print what it is worth. It takes
    10 to 11 minutes on 2 CPU cores.

    It writes to data/demo and runs/<run> of the working directory. What is finished is not made again, and
    what was interrupted continues.

    Args:
        run: Name of the folder under runs/.
        clips: Clips in all, a multiple of 8.
        seed: Seed of the training; that of the clips stays.
    """
    require(clips > 0 and clips % 8 == 0, f"--clips {clips} must be a multiple of 8, and more than 0")
    check_seed(seed)
    program(["-m", "vjepa", "data", "record-clips", "--out", "data/demo", "--clips", str(clips)])
    for stage in DEMO_STAGES:
        program(stage_words(stage, run, seed))
    program(["-m", "vjepa", "report", f"runs/{run}/probe/scores.json"])


def stage_words(stage: str, run: str, seed: int) -> list[str]:
    """What follows `python` to run a stage of the demo; without a seed of its own, as in `make demo`."""
    line = stage_line("fit", stage, ["--run", run, *(["--seed_everything", str(seed)] if seed else [])])
    return ["-m", line.module, *line.words]


def program(words: list[str]) -> None:
    """Run a Python program in a process of its own. If it fails, exit with its status: it has said why."""
    print("$", shlex.join([Path(sys.executable).name, *words]), flush=True)
    status = subprocess.run([sys.executable, *words], check=False).returncode
    if status:
        raise SystemExit(status)

"""Stages started in forks of one process that has imported torch and Lightning: a start costs no imports.

started = start(["stages.pretrain", "fit", "--out", "runs/x"], folder, log)
started.kill(signal.SIGKILL)
status = started.wait()
"""

import atexit
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import vjepa.training.stage_cli  # noqa: F401  what every stage imports
from vjepa.command.exit_status import exit_on_signals


class Started(NamedTuple):
    """A process that runs a module of Python, and the file that holds what it printed."""

    pid: int
    log: Path

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process alone; its loader's workers must notice by themselves."""
        os.kill(self.pid, number)

    def is_running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def wait(self, seconds: float = 600.0) -> int:
        """The exit status, negative for a signal. Raises TimeoutError for a process that does not end."""
        end = time.monotonic() + seconds
        while self.is_running():
            if time.monotonic() > end:
                os.killpg(self.pid, signal.SIGKILL)
                raise TimeoutError(f"it did not end within {seconds:g} s; {self.log} holds what it printed")
            time.sleep(0.02)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def start(words: Sequence[str], folder: Path, log: Path) -> Started:
    """Run `python -m` with these words in a folder. The log is added to, if it is there."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        run_and_exit(words, folder, log)
    return Started(pid, log)


def children(process: int) -> list[int]:
    """The processes that a process has started, of those that are still there."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def run_and_exit(words: Sequence[str], folder: Path, log: Path) -> None:
    """The life of a fork: a session of its own, so that its workers can be ended with it."""
    os.setsid()
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = list(words)
    status = 1
    try:
        exit_on_signals()  # as the command of a stage does first
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  a fork must not go on with the parent's work
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(status)

"""The exit statuses of a program that a signal ends, for whoever started it."""

import os
import signal
from types import FrameType

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: os.EX_TEMPFAIL}
"""Signal -> exit status: 128 + its number. SIGUSR1 says that a job's time is up, so 75 asks for a restart."""
STARTER = os.getppid()
"""The process that started this one, noted before imports, which take seconds."""


def exit_on_signals() -> None:
    """Until training looks at signals itself, one ends this process with its status. Ctrl-C is Python's."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, exit_with_status)


def exit_with_status(number: int, frame: FrameType | None) -> None:
    raise SystemExit(STATUS[number])

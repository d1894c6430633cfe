"""torchrun, which ends with the status of the process that failed first, and says in one line how it ended.

torchrun itself ends with 1, whatever happened: nobody could tell a run that asks to be started again (75).
"""

import signal
import sys

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

from vjepa.command.exit_status import STATUS


def run(words: list[str]) -> int:
    """Start the processes of this machine and wait for them. Returns the exit status."""
    try:
        main(words)
    except SignalException as stopped:
        return STATUS.get(stopped.sigval, 128 + stopped.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:  # it has said itself what was wrong
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f"error: process {rank} of the run ({failure.pid}) was ended by {name}", file=sys.stderr)
        return 128 - failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

"""The command `tensorboard`: curves and images of all runs, in the browser."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from vjepa.errors import UserError, require


def tensorboard(runs: Path = Path("runs"), *, port: int = 6006) -> None:
    """Show the curves and images of all runs in the browser, until Ctrl-C.

    Args:
        runs: Folder of the runs, or of one of them.
        port: Where the browser finds it: http://localhost:PORT.
    """
    check_port(port)
    require(runs.is_dir(), f"{runs}: no such folder; train something first, for example with: vjepa demo")
    print(f"the curves to watch first: http://localhost:{port}/#custom_scalars", flush=True)
    # The fast loader is a separate binary that does not run everywhere.
    words = ["-m", "tensorboard.main", "--load_fast=false", "--logdir", str(runs), "--port", str(port)]
    raise SystemExit(subprocess.run([sys.executable, *words], check=False).returncode)


def check_port(port: int) -> None:
    """Raise UserError unless a server can listen there."""
    require(1 <= port <= 65535, f"--port {port}: give a number from 1 to 65535")
    try:
        socket.create_server(("localhost", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno)
        raise UserError(f"--port {port}: {reason}; give another port, or end what uses this one") from error

#!/usr/bin/env bash
# Make .venv with the interpreter $PYTHON, or say which versions of Python fit.
set -euo pipefail
"$PYTHON" - <<'CHECK'
import sys

version = sys.version_info[:2]
if not (3, 11) <= version < (3, 14):
    found = f"{sys.executable} is {version[0]}.{version[1]}"
    sys.exit(f"Python 3.11 to 3.13 is needed, {found}: make PYTHON=python3.12 ...")
CHECK
echo "Installing the Python packages into .venv; a minute or more ..."
"$PYTHON" -m venv .venv

"""Missing extras and a closed pipe: one line, the right status, no traceback, also while importing."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from safetensors import SafetensorError

from vjepa.command.mistakes import EXTRAS, tell

ROOT = Path(__file__).parents[2]
WITHOUT = """
import runpy, sys
for module in sys.argv[1].split(","):
    sys.modules[module] = None
module, *words = sys.argv[2:]
sys.orig_argv = ["python", "-m", module, *words]
sys.argv = [module, *words]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def without(extra: str, *words: str) -> subprocess.CompletedProcess:
    """Run `python -m WORDS` where importing these modules fails."""
    command = [sys.executable, "-c", WITHOUT, extra, *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("mujoco", ["vjepa", "data", "record-clips", "--help"]),
        ("mujoco", ["vjepa", "plan", "--help"]),
        ("mujoco", ["stages.plan", "--help"]),
        ("transformers,peft", ["vjepa", "ask", "--help"]),
        ("transformers,peft", ["stages.vlm", "fit", "--help"]),
        ("matplotlib", ["vjepa", "landscape", "--help"]),
    ],
)
def test_help_needs_no_extra(extra, words):
    told = without(extra, *words)
    assert (told.returncode, told.stderr) == (0, "")
    assert "usage: " in told.stdout


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("mujoco", ["vjepa", "data", "record-clips", "--out", "x"]),
        ("mujoco", ["vjepa", "plan"]),
        ("mujoco", ["stages.plan", "--out", "x"]),
    ],
)
def test_a_missing_extra_is_one_sentence(extra, words):
    told = without(extra, *words)
    assert told.returncode == 2
    assert re.fullmatch(r"error: .* needs mujoco; pip install 'vjepa\[sim\]'\n", told.stderr)


@pytest.mark.parametrize("module", EXTRAS)
def test_every_module_of_an_extra_is_told(module, capsys):
    missing = ModuleNotFoundError(f"No module named '{module}.part'", name=f"{module}.part")
    assert tell(missing) == 2
    assert capsys.readouterr().err == f"error: this needs {module}; pip install 'vjepa[{EXTRAS[module]}]'\n"


def test_every_extra_is_one_of_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(EXTRAS.values()) <= set(settings["project"]["optional-dependencies"])


def test_a_closed_pipe_is_silent():
    command = f"{sys.executable} -m vjepa --help | true"
    assert subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stderr == ""


def test_a_name_that_the_terminal_cannot_show(tmp_path):
    env = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code = "from vjepa.command.mistakes import mistakes_as_sentences as say\nwith say(): print('\\u00fc.mp4')"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert told.stdout == "\\xfc.mp4\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_a_full_disk_is_a_sentence():
    command = f"{shlex.quote(sys.executable)} -u -m vjepa --help > /dev/full"
    told = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (told.returncode, "free some disk" in told.stderr) == (2, True)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "too little memory (no more is left)"),
        (RuntimeError("[enforce fail] can't allocate memory: 9 bytes"), "too little memory"),
        (
            SafetensorError("I/O error: No space left on device (os error 28)"),
            "weights cannot be written or read",
        ),
    ],
)
def test_a_machine_that_is_too_small_is_a_sentence(error, sentence, capsys):
    assert tell(error) == 2
    assert sentence in capsys.readouterr().err


def test_an_error_of_our_own_keeps_its_traceback():
    assert tell(RuntimeError("shapes differ")) is None

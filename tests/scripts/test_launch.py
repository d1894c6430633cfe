"""What the launch scripts start, and how they end, with stand-ins for srun, scontrol and Python."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "scripts/launch"
STAGE = ["stages.pretrain", "fit", "--config", "a b.yaml"]


def program(folder: Path, name: str, body: str) -> Path:
    """A shell script that writes its arguments, one a line, to `<name>.txt` beside it."""
    path = folder / name
    path.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" > "{folder}/{name}.txt"\n{body}\n')
    path.chmod(0o755)
    return path


def words(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.txt").read_text().splitlines()


@pytest.fixture
def slurm(tmp_path):
    """Start slurm.sh as a job with an srun of this body; returns the running batch shell."""

    def slurm(srun: str) -> subprocess.Popen:
        program(tmp_path, "srun", srun)
        program(tmp_path, "scontrol", "")
        job = {"SLURM_JOB_ID": "17", "SLURM_NNODES": "4", "SLURM_NTASKS_PER_NODE": "8", "PYTHON": "py"}
        path = f"{tmp_path}:{os.environ['PATH']}"
        return subprocess.Popen([LAUNCH / "slurm.sh", *STAGE], env={**os.environ, **job, "PATH": path})

    return slurm


def test_slurm_starts_the_stage_with_the_counts_of_the_job(slurm, tmp_path):
    assert slurm("exit 0").wait(20) == 0
    counts = ["--trainer.num_nodes", "4", "--trainer.devices", "8"]
    assert words(tmp_path, "srun") == ["--wait=600", "py", "-m", *STAGE, *counts]
    assert not (tmp_path / "scontrol.txt").exists()


@pytest.mark.parametrize("status", [0, 1, 2, 75, 130, 137, 143])
def test_slurm_queues_the_job_again_on_75_alone(slurm, tmp_path, status):
    assert slurm(f"exit {status}").wait(20) == status
    queued = (tmp_path / "scontrol.txt").exists()
    assert queued == (status == 75) and (not queued or words(tmp_path, "scontrol") == ["requeue", "17"])


@pytest.mark.parametrize("numbers", [[signal.SIGUSR1], [signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM]])
def test_the_batch_shell_outlives_signals_and_passes_sigusr1_on(slurm, tmp_path, numbers):
    """SIGTERM goes to the tasks by Slurm itself; the shell must live to queue the job again."""
    job = slurm(f'trap "exit 75" USR1; touch "{tmp_path}/ready"; for i in {{1..200}}; do sleep 0.05; done')
    while not (tmp_path / "ready").exists():
        time.sleep(0.02)
    for number in numbers:
        job.send_signal(number)
        time.sleep(0.1)
    assert job.wait(20) == 75
    assert words(tmp_path, "scontrol") == ["requeue", "17"]


def test_slurm_asks_for_the_signal_that_the_stage_knows():
    settings = [line for line in (LAUNCH / "slurm.sh").read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=USR1@300", "#SBATCH --open-mode=append"} <= set(settings)


def test_torchrun_starts_the_stage_on_every_device(tmp_path):
    python = program(tmp_path, "python", 'if [ "$1" = -c ]; then echo 3; fi')
    machine = {"PYTHON": str(python), "NODES": "4", "NODE": "2", "MASTER": "10.0.0.1", "PORT": "1234"}
    subprocess.run([LAUNCH / "torchrun.sh", *STAGE], env=os.environ | machine, check=True, timeout=20)
    started = words(tmp_path, "python")
    own, stage = started[: started.index("-m")], started[started.index("-m") :]
    assert Path(own[0]) == LAUNCH / "torchrun.py" and "SIGUSR1" in own[own.index("--signals_to_handle") + 1]
    options = ["nnodes", "4", "node_rank", "2", "nproc_per_node", "3", "master_addr", "10.0.0.1"]
    assert all(word in " ".join(own) for word in map(" ".join, zip(options[::2], options[1::2], strict=True)))
    assert stage == ["-m", *STAGE, "--trainer.num_nodes", "4", "--trainer.devices", "3"]


@pytest.mark.parametrize("script", ["slurm.sh", "torchrun.sh"])
def test_a_script_without_a_stage_says_what_to_give(script):
    told = subprocess.run([LAUNCH / script], capture_output=True, text=True, timeout=20, check=False)
    assert told.returncode == 2 and told.stderr.startswith("error: give a stage")


@pytest.mark.parametrize("script", ["slurm.sh", "torchrun.sh"])
def test_shellcheck_finds_nothing(script):
    checker = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ) or pytest.skip("shellcheck is not installed")
    subprocess.run([checker, LAUNCH / script], check=True, timeout=60)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("raise SystemExit(75)", 75, ""),
        ("raise SystemExit(2)", 2, ""),
        ("import os; os.kill(os.getpid(), 9)", 137, "was ended by SIGKILL"),
        ("pass", 0, ""),
    ],
)
def test_torchrun_passes_the_first_status_on(tmp_path, code, status, told):
    (tmp_path / "stage.py").write_text(code)
    machine = {"GPUS": "1", "PORT": "29517", "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(
        [LAUNCH / "torchrun.sh", "stage"],
        env=os.environ | machine | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == status and told in ended.stderr and "Traceback" not in ended.stderr

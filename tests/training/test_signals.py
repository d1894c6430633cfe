"""Signals in every phase of a run: what is saved, the exit status, and that a continued run loses nothing."""

import math
import os
import shlex
import signal
import subprocess
import sys
import time

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies.launchers import subprocess_script

from stages.pretrain import Pretrain
from tests.stages.test_stages import clip_data
from vjepa.command.exit_status import STATUS, exit_with_status
from vjepa.data.clip_data import ClipData
from vjepa.data.reading import Process, note_file
from vjepa.training.signals import take_over
from vjepa.training.stage_cli import run
from vjepa.training.watch import PATIENCE, Stopped, Watch, is_lost_connection, watched

RECIPE = """
model:
  encoder: {width: 48, depth: 2, heads: 4, mlp_width: 96, patch: 8}
  predictor: {width: 24, depth: 1, heads: 2, mlp_width: 48}
  masks: {kinds: [{blocks: 2, scale: 0.2}], group: 4}
  optim: {lr: {peak: 0.001}}
data:
  train: [{manifest: MANIFEST}]
  val: MANIFEST
  clip: {frames: 4, fps: 8, size: 32}
  batch_size: 4
  workers: 0
trainer:
  accelerator: cpu
  max_steps: 6
  check_val_every_n_epoch: null
  val_check_interval: 4
  num_sanity_val_steps: 1
  accumulate_grad_batches: 2
checkpoint: {every_n_train_steps: 100}
"""


class Signal(L.Callback):
    """Sends this process a signal in one of Lightning's hooks, when `when(trainer, batch_idx)` says so."""

    hook = ""
    number = signal.SIGTERM
    when = staticmethod(lambda trainer, batch_idx: True)
    sent = False

    def send(self, trainer, hook: str, batch_idx: int = 0) -> None:
        if hook == Signal.hook and not Signal.sent and Signal.when(trainer, batch_idx):
            Signal.sent = True
            os.kill(os.getpid(), Signal.number)
            time.sleep(0.3)  # the thread hears it

    def on_fit_start(self, trainer, stage) -> None:
        self.send(trainer, "on_fit_start")

    def on_sanity_check_start(self, trainer, stage) -> None:
        self.send(trainer, "on_sanity_check_start")

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        self.send(trainer, "on_train_batch_start", batch_idx)

    def on_validation_batch_start(self, trainer, stage, batch, batch_idx, dataloader_idx=0) -> None:
        if not trainer.sanity_checking:
            self.send(trainer, "on_validation_batch_start", batch_idx)

    def on_save_checkpoint(self, trainer, stage, checkpoint) -> None:
        self.send(trainer, "on_save_checkpoint")


@pytest.fixture(autouse=True)
def handlers_as_before():
    before = {number: signal.getsignal(number) for number in STATUS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    note_file(None)


@pytest.fixture
def pretraining(clips_manifest, tmp_path, monkeypatch, capsys):
    """Fit with these words, and a signal in a hook: the exit status, and what was printed."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))

    def pretraining(hook="", number=signal.SIGTERM, when=lambda *_: True, words="", folder="run"):
        values = {"hook": hook, "number": number, "when": staticmethod(when), "sent": False}
        for name, value in values.items():
            monkeypatch.setattr(Signal, name, value)
        typed = ["--config", str(recipe), "--out", str(tmp_path / folder), *shlex.split(words)]
        watching = f"--trainer.callbacks+={__name__}.Signal"
        monkeypatch.setattr(sys, "argv", ["pretrain", "fit", *typed, watching])
        status = 0
        try:
            run(Pretrain, ClipData)
        except SystemExit as end:
            status = end.code
        return status or 0, "".join(capsys.readouterr())

    return pretraining


def steps_saved(folder) -> list[int]:
    return sorted(torch.load(file)["global_step"] for file in (folder / "checkpoints").glob("*.ckpt"))


def weights(folder) -> dict:
    """After the last step."""
    checkpoints = map(torch.load, (folder / "checkpoints").glob("*.ckpt"))
    [last] = [checkpoint for checkpoint in checkpoints if checkpoint["global_step"] == 6]
    return last["state_dict"]


STRAIGHT: dict = {}
"""Weights of the run that no signal has reached."""


def goes_on_to_the_same_weights(pretraining, tmp_path) -> bool:
    assert pretraining()[0] == 0
    if not STRAIGHT:
        assert pretraining(folder="straight")[0] == 0
        STRAIGHT.update(weights(tmp_path / "straight"))
    continued = weights(tmp_path / "run")
    return all(torch.equal(value, STRAIGHT[key]) for key, value in continued.items())


@pytest.mark.parametrize("number", STATUS)
def test_a_signal_saves_after_the_whole_step_and_the_run_goes_on_to_the_same_weights(
    number, pretraining, tmp_path
):
    """It comes in the first micro-batch of the third step; a signal in the same second is the same one."""

    def third_step(trainer, batch_idx) -> bool:
        return trainer.global_step == 2

    status, output = pretraining("on_train_batch_start", number, third_step)
    assert status == STATUS[number]
    assert output.splitlines()[-1] == "stopped after step 3; the same command continues from there"
    assert steps_saved(tmp_path / "run") == [3] and not (tmp_path / "run/model.safetensors").exists()
    if number == signal.SIGUSR1:
        assert goes_on_to_the_same_weights(pretraining, tmp_path)


def test_what_a_stop_saves_knows_of_the_step(pretraining, tmp_path):
    """Monitors have counted the step by then, so a run that goes on counts each step once."""
    words = "--trainer.log_every_n_steps 1"
    status, _ = pretraining(
        "on_train_batch_start", when=lambda trainer, i: trainer.global_step == 2, words=words
    )
    assert status == 143
    state = torch.load(tmp_path / "run/checkpoints/step=3.ckpt")["callbacks"]["CollapseMonitor"]
    assert {name: len(values) for name, values in state["alarm"]["last"].items()} == {
        "effective_rank": 3,
        "loss_over_mean": 3,
    }


def test_a_signal_does_not_wait_for_the_end_of_a_validation(pretraining, tmp_path):
    status, output = pretraining(
        "on_validation_batch_start", signal.SIGUSR1, lambda trainer, batch_idx: batch_idx == 1
    )
    assert status == 75 and "stopped after step 2;" in output  # 4 batches are 2 steps
    assert steps_saved(tmp_path / "run") == [2]
    assert goes_on_to_the_same_weights(pretraining, tmp_path)


@pytest.mark.parametrize("hook", ["on_fit_start", "on_sanity_check_start"])
def test_a_signal_before_the_first_step_ends_at_once_and_saves_nothing(hook, pretraining, tmp_path):
    status, output = pretraining(hook, signal.SIGUSR1)
    assert status == 75 and "stopped by SIGUSR1" in output and "Traceback" not in output
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_signal_while_a_checkpoint_is_saved_leaves_it_whole(pretraining, tmp_path):
    words = "--checkpoint.every_n_train_steps 2 --trainer.val_check_interval 1000"
    status, _ = pretraining("on_save_checkpoint", words=words)
    assert status == 143 and steps_saved(tmp_path / "run") == [2]


def test_a_run_that_stops_does_not_validate_first(pretraining):
    """Lightning validates once more where it is told to stop."""
    _, output = pretraining("on_train_batch_start", words="--trainer.val_check_interval 1000")
    assert "validation" not in output and "stopped after step 1;" in output


@pytest.fixture
def watch(monkeypatch):
    """A watch that is not started, and what it ends with."""
    watch = Watch()
    watch.ends = []
    monkeypatch.setattr(watch, "end", lambda sentence, status: watch.ends.append((sentence, status)))
    return watch


def test_a_second_signal_ends_at_once_with_the_status_of_the_first(watch):
    watch.hear(signal.SIGUSR1)
    watch.hear(signal.SIGUSR1)  # the same Ctrl-C by way of another process
    watch.hear(signal.SIGCHLD)
    assert watch.ends == []
    watch.since -= 1.5
    watch.hear(signal.SIGTERM)
    [(sentence, status)] = watch.ends
    assert "second signal" in sentence and status == 75


def test_a_signal_in_the_test_ends_it_and_one_before_it_too(watch):
    watch.defers = True
    watch.interrupt(signal.SIGTERM, None)
    watch.hear(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped:
        watch.release()
    assert stopped.value.code == 143
    with pytest.raises(Stopped):
        watch.interrupt(signal.SIGUSR1, None)


def test_a_main_thread_that_does_not_end_is_ended(watch):
    watch.hear(signal.SIGTERM)
    watch.check_main_thread()
    assert watch.ends == []
    watch.since -= PATIENCE
    watch.check_main_thread()
    assert watch.ends[0][1] == 143


def test_a_step_may_take_long_but_a_file_must_answer(watch):
    watch.defers = True
    watch.hear(signal.SIGTERM)
    watch.since -= 1000
    watch.check_main_thread()
    assert watch.ends == []
    note_file("/dead/mount/a.mp4")
    watch.check_main_thread()
    assert watch.ends == []
    Process.note["since"] -= PATIENCE
    watch.check_main_thread()
    [(sentence, status)] = watch.ends
    assert "/dead/mount/a.mp4 does not answer" in sentence and status == 143


def test_a_file_that_the_main_thread_reads_for_too_long_is_named(watch):
    watch.timeout = 5.0
    note_file("/dead/mount/b.mp4")
    watch.check_main_thread()
    assert watch.ends == []
    Process.note["since"] -= 6
    watch.check_main_thread()
    [(sentence, status)] = watch.ends
    assert "/dead/mount/b.mp4 does not answer within 5 seconds" in sentence and status == 2


@pytest.mark.parametrize(
    ("end", "requested", "expected"),
    [
        ("kill -9 $$", 0, ("was ended by SIGKILL, most likely because memory ran out", 137)),
        ("kill -11 $$", 0, ("was ended by SIGSEGV;", 139)),
        ("exit 2", 0, ("", 2)),
        ("exit 143", 0, ("", 143)),
        ("exit 75", signal.SIGUSR1, None),
        ("exit 0", 0, None),
    ],
)
def test_the_first_process_ends_with_another_one_that_fails(end, requested, expected, watch, monkeypatch):
    child = subprocess.Popen(["sh", "-c", end])
    child.wait()
    monkeypatch.setattr(Watch, "ranks", [child])
    watch.requested = requested
    watch.check_ranks()
    if expected is None:
        assert watch.ends == []
    else:
        assert expected[0] in watch.ends[0][0] and watch.ends[0][1] == expected[1]


def test_a_process_that_ends_takes_the_others_with_it(watch, monkeypatch):
    child = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(Watch, "ranks", [child])
    watch.leave(KeyError("a bug in this process"))
    assert child.wait(5) == -signal.SIGKILL
    watch.check_ranks()
    assert watch.ends == []  # it knows why


def test_a_lost_connection_is_told_from_an_error_of_our_own():
    lost = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer"
    assert is_lost_connection(RuntimeError(lost))
    assert not is_lost_connection(RuntimeError("shapes do not fit"))
    assert not is_lost_connection(KeyError("/gloo/"))


def test_afterwards_signals_mean_what_they_meant_before():
    before = {number: signal.getsignal(number) for number in STATUS}
    with watched() as watch:
        assert signal.getsignal(signal.SIGUSR1) == watch.interrupt
    assert {number: signal.getsignal(number) for number in STATUS} == before
    assert watch.timeout == math.inf and signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_while_modules_are_imported_a_signal_gives_its_status(number):
    with pytest.raises(SystemExit) as ended:
        exit_with_status(number, None)
    assert ended.value.code == STATUS[number]


def test_lightning_still_has_what_is_taken_over(watch, clips_manifest):
    """Its own handlers and its own thread; these names are not public."""
    trainer = L.Trainer(accelerator="cpu", logger=False)
    assert hasattr(trainer, "_signal_connector") and hasattr(subprocess_script, "_launch_process_observer")
    take_over(trainer, watch)
    assert trainer.received_sigterm is False and watch.ranks == []
    assert clip_data(clips_manifest).timeout == 300.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "told"),
    [(signal.SIGKILL, 137, "was ended by SIGKILL"), (signal.SIGUSR1, 75, "stopped after step")],
)
def test_of_two_processes_one_gets_the_signal_and_both_end(number, status, told, clips_manifest, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    words = (
        "--trainer.devices 2 --trainer.max_steps 100000 --checkpoint.every_n_train_steps 3 --data.workers 1"
    )
    out = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "stages.pretrain",
        "fit",
        "--config",
        recipe,
        "--out",
        out,
        *words.split(),
    ]
    log = (tmp_path / "log.txt").open("w")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    while run.poll() is None and not list(out.glob("checkpoints/*.ckpt")):
        time.sleep(0.1)
    processes = descendants(run.pid)
    os.kill(processes[0], number)
    assert run.wait(60) == status
    text = (tmp_path / "log.txt").read_text()
    assert told in text and "Traceback" not in text
    time.sleep(1.0)
    assert [process for process in processes if is_alive(process)] == []


def descendants(process: int) -> list[int]:
    """The processes that it has started, and those that they have started: the other rank, then workers."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
    rows = [row.split(None, 2) for row in listed.stdout.splitlines()]
    children = [
        int(pid) for pid, parent, name in rows if int(parent) == process and not name.startswith("pt_")
    ]
    workers = [
        int(pid)
        for pid, parent, name in rows
        if name.startswith("pt_") and int(parent) in (process, *children)
    ]
    return children + workers


def is_alive(process: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")

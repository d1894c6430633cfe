"""A run that collapses, diverges, jumps or meets a NaN says so, with the step and the clips."""

import math
import re
from pathlib import Path
from unittest.mock import Mock

import lightning as L
import pytest
import torch

from tests.stage_runs import equal, fit
from tests.stages.test_stages import clip_data, pretrain
from vjepa.errors import DataError, UserError
from vjepa.training.alarms import Alarm, AlarmConfig, good_step
from vjepa.training.checkpoint_files import CheckpointFiles
from vjepa.training.kept_checkpoints import KeptCheckpoints
from vjepa.training.loss_guard import LossGuard, SpikeConfig
from vjepa.training.monitors import DataHealth
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.pickles import read_pickle


def watch(alarm: Alarm, name: str, values: list, folder: Path, first: int = 1) -> int | None:
    """The step at which the alarm stops a run that logs these values; None if it does not."""
    for step, value in enumerate(values, first):
        trainer = Mock(spec=L.Trainer, global_step=step, default_root_dir=folder, is_global_zero=True)
        try:
            alarm.observe(trainer, {name: float(value)})
        except UserError:
            return step
    return None


CONFIG = AlarmConfig(after=20, window=5)
HEALTHY = [38.0] * 10 + [38 - 0.13 * i for i in range(90)] + [26 + (-1) ** i for i in range(100)]
"""The effective rank of the demo, which loses a third while it learns."""


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("effective_rank", HEALTHY),
        ("effective_rank", [30, 31, 2, 29, 30, 3, 30] * 20),  # single values say nothing
        ("effective_rank", [1.5, 1.2, 1.0] * 30),  # nothing to lose
        ("loss_over_mean", [-0.3] * 10 + [0.1] * 10 + [0.6, 0.4, 0.5, 0.62, 0.45] * 20),
        ("loss_over_mean", [0.2] * 30 + [-0.1] * 30),  # it has not learned yet
        ("readout", [0.27, 0.31, 0.36, 0.2, 0.4, 0.42] * 10),
    ],
)
def test_no_alarm_for_a_healthy_run(name, values, tmp_path):
    alarm = Alarm(CONFIG, 5)
    assert watch(alarm, name, values, tmp_path) is None


@pytest.mark.parametrize(
    ("name", "best", "collapsed"),
    [
        ("effective_rank", 38.0, 4.0),
        ("effective_rank", 38.0, math.nan),
        ("loss_over_mean", 0.6, 0.0),
        ("loss_over_mean", 0.6, -math.inf),
        ("readout", 0.4, 0.1),
    ],
)
def test_a_collapse_is_noticed_after_half_a_window_and_names_what_was_before(name, best, collapsed, tmp_path):
    alarm = Alarm(CONFIG, 5)
    assert watch(alarm, name, [best] * 30 + [collapsed] * 30, tmp_path) == 33
    assert alarm.good_step == 30


def test_the_first_steps_are_not_judged_but_their_best_counts(tmp_path):
    assert watch(Alarm(CONFIG, 5), "effective_rank", [38.0] * 6 + [2.0] * 30, tmp_path) == 20


@pytest.mark.parametrize("cut", [3, 28, 31, 34])
def test_an_alarm_resumes_exactly(cut, tmp_path):
    values = [38.0] * 30 + [16.0] * 3 + [4.0] * 30
    straight, first, second = (Alarm(CONFIG, 5) for _ in range(3))
    expected = watch(straight, "effective_rank", values, tmp_path)
    assert watch(first, "effective_rank", values[:cut], tmp_path) is None
    torch.save(first.state_dict(), tmp_path / "state")
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert watch(second, "effective_rank", values[cut:], tmp_path, first=cut + 1) == expected
    assert second.state_dict() == straight.state_dict()


def test_a_warning_comes_once_for_each_fall(tmp_path, capsys):
    alarm = Alarm(AlarmConfig(after=20, window=5, action="warn"), 5)
    assert watch(alarm, "effective_rank", ([38.0] * 30 + [4.0] * 30) * 2, tmp_path) is None
    assert capsys.readouterr().err.count("warning: collapse at step") == 2


def test_a_number_that_is_not_watched_does_not_count(tmp_path):
    alarm = Alarm(AlarmConfig(after=20, window=5, effective_rank=None), 5)
    assert watch(alarm, "effective_rank", [38.0] * 30 + [4.0] * 30, tmp_path) is None


@pytest.mark.parametrize("change", [{"effective_rank": 1.5}, {"readout": 0.0}, {"window": 0}])
def test_settings_of_an_alarm_are_checked(change):
    with pytest.raises(UserError, match=rf"alarm\.{next(iter(change))}="):
        AlarmConfig(**change)


class Broken(L.Callback):
    """From a step on, the target encoder gives the same token everywhere."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        if trainer.global_step >= self.step:
            for parameter in stage.target.norm.parameters():
                parameter.data.zero_()
            stage.target.norm.bias.data[0] = 1


def test_a_collapsed_run_stops_and_its_last_good_checkpoint_is_there(clips_manifest, tmp_path):
    saving = KeptCheckpoints(
        tmp_path / "checkpoints", filename="{step}", every_n_train_steps=2, enable_version_counter=False
    )
    stage = pretrain(alarm=AlarmConfig(after=4, window=9))
    more = {"plugins": [CheckpointFiles()], "enable_checkpointing": True, "log_every_n_steps": 1}
    told = r"^collapse at step (\d+): the effective rank .* the last good checkpoint is .*step=(\d+)\.ckpt"
    with pytest.raises(UserError, match=told) as collapse:
        fit(stage, clip_data(clips_manifest), tmp_path, 40, callbacks=[Broken(11), saving], **more)
    step, good = map(int, re.search(told, str(collapse.value)).groups())
    assert step == 16 and good == 10 and "--model.init_from" in str(collapse.value)
    kept = sorted(int(file.stem[5:]) for file in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert good in kept
    state = read_pickle(tmp_path / f"checkpoints/step={good}.ckpt")["callbacks"]["CollapseMonitor"]["alarm"]
    assert state["good_step"] == good


def test_the_last_good_checkpoint_outlives_newer_ones(clips_manifest, tmp_path):
    saving = KeptCheckpoints(
        tmp_path / "checkpoints", filename="{step}", every_n_train_steps=2, enable_version_counter=False
    )
    more = {"plugins": [CheckpointFiles()], "enable_checkpointing": True, "log_every_n_steps": 1}
    alarm = AlarmConfig(after=4, window=3, action="warn")
    stage = pretrain(alarm=alarm)
    trainer = fit(stage, clip_data(clips_manifest), tmp_path, 20, callbacks=[Broken(7), saving], **more)
    assert good_step(trainer) == 7
    kept = sorted(int(file.stem[5:]) for file in (tmp_path / "checkpoints").glob("*.ckpt"))
    assert kept == [6, 18, 20]


class Spoil(L.Callback):
    """Multiplies the loss, the gradient or the weights of one step."""

    def __init__(self, where: str, step: int, factor: float) -> None:
        self.where = where
        self.step = step
        self.factor = factor

    def on_before_backward(self, trainer, stage, loss) -> None:
        if self.where == "loss" and trainer.global_step == self.step:
            loss.data.mul_(self.factor)

    def on_after_backward(self, trainer, stage) -> None:
        if self.where == "gradient" and trainer.global_step == self.step:
            stage.encoder.norm.bias.grad.mul_(self.factor)

    def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
        if self.where == "weights" and trainer.global_step == self.step:
            stage.encoder.norm.bias.data.mul_(self.factor)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["loss", "gradient", "weights"])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_what_is_no_number_stops_the_run_and_names_the_clips(
    where, value, accumulated, clips_manifest, tmp_path
):
    data = clip_data(clips_manifest, 8 // accumulated)
    spoil = Spoil(where, 3, value)
    with pytest.raises(DataError, match=rf"the {where}.* step (3|4)") as stopped:
        fit(
            pretrain(),
            data,
            tmp_path,
            6,
            callbacks=[spoil, LossGuard()],
            accumulate_grad_batches=accumulated,
        )
    assert "lower model.optim.lr" in str(stopped.value) and "\n" not in str(stopped.value)
    listed = (tmp_path / "suspect_clips.txt").read_text().splitlines()
    assert len(listed) == 8 and all(line.endswith(".mp4") for line in listed)
    assert listed[0].partition(": ")[2] in str(stopped.value) and "and 5 more" in str(stopped.value)


def test_weights_of_another_device_that_are_no_numbers_stop_the_run_here_too(clips_manifest, tmp_path):
    class Elsewhere(L.Callback):
        def on_train_batch_end(self, trainer, stage, outputs, batch, batch_idx) -> None:
            trainer.strategy.reduce = lambda mine, reduce_op: mine + math.nan

    with pytest.raises(DataError, match="the weights are not finite after step 1"):
        fit(pretrain(), clip_data(clips_manifest), tmp_path, 6, callbacks=[Elsewhere(), LossGuard()])


def test_a_segment_is_named_with_its_begin(clips_manifest, tmp_path):
    manifest = clips_manifest.with_name("segments.csv")
    manifest.write_text(f"path,label,start,end\n{clips_manifest.parent}/00.mp4,0,0.25,1.0\n")
    with pytest.raises(DataError, match=r"00\.mp4 from 0\.25 s"):
        fit(pretrain(), clip_data(manifest), tmp_path, 6, callbacks=[Spoil("loss", 1, math.nan), LossGuard()])


def test_a_run_that_is_shorter_than_what_a_jump_is_judged_by_is_told(clips_manifest, tmp_path, capsys):
    guard = LossGuard(SpikeConfig(window=2))
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 2, callbacks=[guard])
    assert "spike.window=2 judges none of 2 steps" in capsys.readouterr().out


def test_the_clips_that_are_named_are_those_of_the_step(clips_manifest, tmp_path):
    """Also where a file could not be decoded and another one took its place."""
    (clips_manifest.parent / "torn.mp4").write_bytes(b"no video")
    rows = clips_manifest.read_text().replace("05.mp4", "torn.mp4").replace("11.mp4", "torn.mp4")
    manifest = clips_manifest.with_name("torn.csv")
    manifest.write_text(rows)
    seen = []

    class See(L.Callback):
        def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
            seen.append([int(k) for k in batch.index])

    data = clip_data(manifest)
    data.max_bad_share = 1.0
    with pytest.raises(DataError):
        callbacks = [DataHealth(tmp_path), See(), Spoil("loss", 2, math.nan), LossGuard()]
        fit(pretrain(), data, tmp_path, 6, callbacks=callbacks)
    listed = [Path(line).name for line in (tmp_path / "suspect_clips.txt").read_text().splitlines()]
    samples = data.training_samples()
    # The label of a clip in this manifest is whether its number is odd.
    labels = [samples[k].label for k in seen[-1]]
    assert "torn.mp4" not in listed and [int(name[:2]) % 2 for name in listed] == labels


def test_a_guard_changes_nothing(clips_manifest, tmp_path):
    plain, guarded = pretrain(), pretrain()
    fit(plain, clip_data(clips_manifest), tmp_path, 4)
    guard = LossGuard(SpikeConfig(factor=50.0, window=2, action="skip"))
    fit(guarded, clip_data(clips_manifest), tmp_path, 4, callbacks=[guard])
    assert equal(plain, guarded) and len(guard.last) == 4


def test_a_jump_is_told_left_out_or_ends_the_run(clips_manifest, tmp_path, capsys):
    def train(action: str) -> L.LightningModule:
        stage = pretrain()
        guard = LossGuard(SpikeConfig(factor=5.0, window=2, action=action))
        fit(stage, clip_data(clips_manifest), tmp_path, 4, callbacks=[Spoil("loss", 3, 100.0), guard])
        return stage

    before = pretrain()
    fit(before, clip_data(clips_manifest), tmp_path, 3)
    assert equal(train("skip").encoder, before.encoder)  # the fourth step is left out
    assert not equal(train("warn").encoder, before.encoder)
    skipped, warned = re.findall("warning: the loss jumped to .* at step 4, .*", capsys.readouterr().err)
    assert skipped.endswith("its step is left out") and warned.endswith("the run goes on")
    with pytest.raises(DataError, match=r"the loss jumped to .* at step 4, .*\.mp4.*; spike\.action=warn"):
        train("stop")


def test_the_guard_resumes_exactly(clips_manifest, tmp_path):
    straight, first, second = (LossGuard(SpikeConfig(window=3)) for _ in range(3))
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 8, callbacks=[straight])
    trainer = fit(pretrain(), clip_data(clips_manifest), tmp_path, 4, callbacks=[first])
    trainer.save_checkpoint(tmp_path / "step=4.ckpt")
    saved = tmp_path / "step=4.ckpt"
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 8, ckpt_path=saved, callbacks=[second])
    assert second.state_dict() == straight.state_dict()


@pytest.mark.parametrize(("peak", "diverges"), [(1e-3, False), (3e-2, False), (1.0, True)])
def test_a_run_that_diverged_is_not_exported(peak, diverges, clips_manifest, tmp_path):
    stage = pretrain(optim=OptimConfig(lr=Schedule(peak), weight_decay=Schedule(0.0)))
    guard = LossGuard()
    fit(stage, clip_data(clips_manifest), tmp_path, 6, callbacks=[guard])
    if not diverges:
        return guard.check_converged(tmp_path)
    with pytest.raises(UserError, match=r"the run diverged \(.*\), so it is not exported; "):
        guard.check_converged(tmp_path)


@pytest.mark.parametrize(
    ("first", "last", "diverged"),
    [
        ([0.99, 0.9, 0.8], [0.2] * 20, False),
        ([0.05] * 5, [0.5] * 20, False),  # a cooldown that begins low
        ([0.7], [0.7], False),
        ([], [], False),
        ([1.0] * 5, [12.0] * 20, True),
        ([1.0] * 5, [1.0] * 11 + [900.0] * 9, False),  # a spike is no end
        ([0.001] * 5, [1.2] * 20, True),
    ],
)
def test_the_loss_of_the_end_is_compared_with_that_of_the_beginning(first, last, diverged, tmp_path):
    guard = LossGuard()
    guard.load_state_dict({"first": first, "last": last, "begin_norm": 10.0, "norm": 12.0})
    if diverged:
        with pytest.raises(UserError, match="its loss went from"):
            guard.check_converged(tmp_path)
    else:
        guard.check_converged(tmp_path)

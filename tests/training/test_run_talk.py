"""What a run says: its progress, what it will take, its last two lines, and what TensorBoard gets."""

import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.stage_runs import equal, fit
from tests.stages.test_stages import CLIP, clip_data, pretrain
from vjepa.errors import UserError
from vjepa.evaluation.label_free import LabelFree, Reading
from vjepa.evaluation.readouts import ReadOutConfig
from vjepa.training import closing_lines, forecast, progress
from vjepa.training.finish import end_training
from vjepa.training.forecast import Forecast, check_disk, checkpoint_bytes, duration, size_text
from vjepa.training.image_monitor import ImageMonitor
from vjepa.training.label_free_monitor import LabelFreeMonitor
from vjepa.training.monitors import OptimizerMonitor
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.training.pretraining_monitors import ReadOutMonitor
from vjepa.training.progress import Line, StepProgress
from vjepa.training.run_folder import RunFolder
from vjepa.training.stage_parser import keys_of
from vjepa.training.step_timer import StepTimer, clock
from vjepa.training.tensorboard_layout import RunDescription, layout
from vjepa.weights.card import parameters_text


def unlabelled(manifest):
    """The same videos without labels."""
    rows = manifest.read_text().splitlines()
    path = manifest.with_name("unlabelled.csv")
    path.write_text("\n".join(row.split(",")[0] for row in rows) + "\n")
    return path


def talking(out) -> list[L.Callback]:
    return [Forecast(out), RunDescription("pretrain", out), ImageMonitor(), StepProgress()]


def test_a_run_that_talks_ends_with_the_same_weights(clips_manifest, tmp_path, monkeypatch):
    """Monitors, forecast, readings and pictures draw nothing from the run's random state."""
    monkeypatch.setattr(forecast, "WARM_UP", 1)
    monkeypatch.setattr(forecast, "TIMED", 2)
    silent = pretrain()
    fit(silent, clip_data(clips_manifest), tmp_path, steps=4)

    loud = pretrain()
    logger = TensorBoardLogger(tmp_path, name="", version="")
    settings = {"callbacks": talking(tmp_path), "logger": logger, "enable_progress_bar": True}
    fit(loud, clip_data(unlabelled(clips_manifest)), tmp_path, steps=4, **settings)
    assert equal(silent, loud)


def test_tensorboard_gets_layout_recipe_networks_and_moving_masks(clips_manifest, tmp_path):
    (tmp_path / "config.yaml").write_text("model: {seed: 0}\n")
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 1, callbacks=talking(tmp_path)[:3], logger=logger)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert {"custom_scalars__config__", "recipe/text_summary", "networks/text_summary"} <= set(
        tags["tensors"]
    )
    masks = [tag for tag in tags["images"] if tag.startswith("masks/")]
    assert len(masks) == 2 and events.Images(masks[0])[0].encoded_image_string[:6] == b"GIF89a"
    colours = events.Images("tokens/principal_components_as_colour")[0]
    assert colours.width >= 2 * 128  # 2 time steps


@pytest.mark.parametrize("kind", ["csv", "none"])
def test_other_loggers_are_passed_over(kind, clips_manifest, tmp_path):
    logger = CSVLogger(tmp_path) if kind == "csv" else False
    stage = pretrain()
    callbacks = talking(tmp_path)[:3]
    fit(stage, clip_data(unlabelled(clips_manifest)), tmp_path, 1, callbacks=callbacks, logger=logger)
    assert (tmp_path / "label_free.json").exists()


def test_the_layout_begins_with_the_curves_to_watch():
    first, *rest = layout("pretrain").values()
    tags = [pattern for _, patterns in first.values() for pattern in patterns]
    for name in ("readout/label_linear", "collapse/effective_rank", "collapse/loss_over_mean"):
        assert f"{name}$" in tags
    assert rest


def test_a_log_gets_few_lines_and_a_stage_without_a_bar_none(clips_manifest, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    bar = {"callbacks": [StepProgress()], "enable_progress_bar": True}
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=12, **bar)
    lines = capsys.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 11
    assert lines[-1].startswith("step 12/12  0:00 left  loss 0.")

    off = StepProgress()
    off.disable()
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 2, callbacks=[off], enable_progress_bar=True)
    assert "step" not in capsys.readouterr().err


def test_a_resumed_run_counts_from_where_it_was(clips_manifest, tmp_path, capsys):
    first = fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=4)
    first.save_checkpoint(tmp_path / "step=4.ckpt")
    bar = StepProgress()
    settings = {"callbacks": [bar], "enable_progress_bar": True, "ckpt_path": tmp_path / "step=4.ckpt"}
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=6, **settings)
    assert bar.first == 4 and len(bar.timer.steps) == 2
    assert "step 6/6" in capsys.readouterr().err


def test_a_line_is_due_after_a_tenth_or_a_long_silence(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now)
    line = Line(True)
    now = 5.0
    assert not line.is_due(0.5)  # too soon
    now = 20.0
    assert line.is_due(0.1) and not line.is_due(0.05)
    now = 601.0
    assert line.is_due(0.001)


def test_the_usual_step_ignores_a_pause_and_waiting_is_a_share(monkeypatch):
    times = iter([0.0, 1.0, 2.0, 12.0, 13.0])
    monkeypatch.setattr("vjepa.training.step_timer.time.perf_counter", lambda: next(times))
    timer = StepTimer()
    timer.restart(waited=100.0)
    for waited in (100.5, 101.0, 101.0, 101.0):
        timer.tick(waited)
    assert timer.seconds == 1.0
    assert timer.wait_share == pytest.approx(1 / 13)


def test_times_and_sizes_in_words():
    assert [clock(s) for s in (0, 51, 723, 3723)] == ["0:00", "0:51", "12:03", "1:02:03"]
    assert [duration(s) for s in (0.2, 40, 245, 9000, 3 * 86400)] == [
        "1 s",
        "40 s",
        "4 min",
        "2.5 hours",
        "3.0 days",
    ]
    assert [size_text(b) for b in (4.2e6, 12e6, 1.1e9, 80e9)] == ["4.2 MB", "12 MB", "1.1 GB", "80 GB"]
    assert [parameters_text(n) for n in (0, 9400, 200_000, 86_000_000, 10**9)] == [
        *("0", "9.4k", "0.2M", "86M", "1.0B")
    ]


def test_the_predicted_checkpoint_is_as_large_as_the_file(clips_manifest, tmp_path):
    stage = pretrain()
    trainer = fit(stage, clip_data(clips_manifest), tmp_path, steps=1)
    trainer.save_checkpoint(tmp_path / "step=1.ckpt")
    assert checkpoint_bytes(stage) == pytest.approx((tmp_path / "step=1.ckpt").stat().st_size, rel=0.15)


def test_a_disk_that_cannot_hold_the_checkpoints_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"need 2\.0 GB more, but 1\.0 GB of disk are free; free some"):
        check_disk(tmp_path, need=int(2e9), free=int(1e9))


def test_a_full_disk_stops_the_run_before_its_first_step(clips_manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    stage = pretrain()
    with pytest.raises(UserError, match=r"lower checkpoint\.save_top_k"):
        fit(stage, clip_data(clips_manifest), tmp_path, steps=1, callbacks=[Forecast(tmp_path)])
    assert stage.global_step == 0


def trainer_of(data=None, stage=None, metrics=None, callbacks=()) -> L.Trainer:
    metrics = {key: torch.tensor(value) for key, value in (metrics or {}).items()}
    known = {"datamodule": data, "lightning_module": stage, "callback_metrics": metrics}
    return Mock(spec=L.Trainer, callbacks=list(callbacks), overfit_batches=0.0, **known)


def test_the_next_command_is_as_the_stage_was_started(clips_manifest, tmp_path, monkeypatch):
    data = clip_data(clips_manifest)
    trainer = trainer_of(data, pretrain())
    out = tmp_path / "runs/own/pretrain"
    init = f"--model.init_from {out}/checkpoints --out {tmp_path}/runs/own/cooldown"

    monkeypatch.delenv("MAKELEVEL", raising=False)
    typed = ["vjepa", "fit", "pretrain", "--scale", "own", "--run=own", "--data.train", "[{manifest: a b}]"]
    monkeypatch.setattr(closing_lines.sys, "orig_argv", typed)
    direct = closing_lines.next_command("pretrain", trainer, out)
    assert direct == "vjepa fit cooldown --scale own --run own --data.train '[{manifest: a b}]'"
    monkeypatch.setattr(closing_lines.sys, "orig_argv", ["vjepa", "fit", "pretrain", "--out", "x"])
    assert closing_lines.next_command("pretrain", trainer, out) == f"vjepa fit cooldown {init}"

    words = ["python", "-m", "stages.pretrain", "fit", "--config", "conf/pretrain.yaml"]
    monkeypatch.setattr(closing_lines.sys, "orig_argv", words)
    module = closing_lines.next_command("pretrain", trainer, out)
    assert module == f"python -m stages.cooldown fit --config conf/cooldown.yaml {init}"

    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("MAKEFLAGS", r" --no-print-directory -- RUN=own ARGS=--data.workers\ 1")
    made = closing_lines.next_command("pretrain", trainer, out)
    assert made == "make cooldown RUN=own 'ARGS=--data.workers 1'"


@pytest.mark.parametrize(
    ("folder", "stage", "words"),
    [
        ("pretrain-seed0", "pretrain", ["--model.init_from", "IN/checkpoints", "--out", "cooldown-seed0"]),
        ("my_pretrain_2", "pretrain", ["--model.init_from", "IN/checkpoints", "--out", "my_cooldown_2"]),
        ("two words", "pretrain", ["--model.init_from", "IN/checkpoints", "--out", "cooldown"]),
        ("distilled-seed0", "distil", ["--model.encoder", "IN/model.safetensors", "--out", "distil-probe"]),
        ("distil_2", "distil", ["--model.encoder", "IN/model.safetensors", "--out", "distil-probe_2"]),
    ],
)
def test_the_next_command_takes_any_name_of_a_folder(
    folder, stage, words, clips_manifest, tmp_path, monkeypatch
):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(closing_lines.sys, "orig_argv", ["python", "-m", f"stages.{stage}", "fit"])
    trainer = trainer_of(clip_data(clips_manifest), pretrain())
    told = shlex.split(closing_lines.next_command(stage, trainer, tmp_path / folder))
    option, source, out, beside = words
    assert told[-4:] == [option, source.replace("IN", str(tmp_path / folder)), out, str(tmp_path / beside)]


@pytest.mark.parametrize("typed", ["vjepa fit distil --run a", "python -m stages.distil fit"])
def test_a_distilled_encoder_is_named_to_the_probe(typed, clips_manifest, monkeypatch):
    """Else make and `vjepa fit` take that of the run's cooldown."""
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setattr(closing_lines.sys, "orig_argv", typed.split())
    told = closing_lines.next_command(
        "distil", trainer_of(clip_data(clips_manifest), pretrain()), Path("a/distil")
    )
    assert told.endswith("--model.encoder a/distil/model.safetensors --out a/distil-probe")


def test_a_recipe_that_came_through_a_pipe_is_read_once_and_not_named_again(tmp_path, monkeypatch):
    pipe = tmp_path / "pretrain.yaml"
    os.mkfifo(pipe)
    assert keys_of(str(pipe)) == []  # else this would wait for a writer
    (tmp_path / "plain.yaml").write_text("data: {train: [{manifest: a}]}")
    assert keys_of(str(tmp_path / "plain.yaml")) == ["data.train.manifest"]
    monkeypatch.delenv("MAKELEVEL", raising=False)
    words = ["python", "-m", "stages.pretrain", "fit", "--config", str(pipe)]
    assert "--config" not in closing_lines.direct_command("pretrain", "pretrain", tmp_path, [], words)


def test_a_cooldown_is_told_the_networks_of_its_pretraining(tmp_path):
    words = shlex.split("vjepa fit pretrain --run a --model.encoder.levels [] --model.optim.lr.peak=1")
    told = closing_lines.direct_command("pretrain", "cooldown", tmp_path, [], words)
    assert told == "vjepa fit cooldown --run a --model.encoder.levels '[]'"
    assert "levels" not in closing_lines.direct_command("cooldown", "probe", tmp_path, [], words)


def judged(ours: float) -> LabelFreeMonitor:
    """A monitor that has compared this share of right answers with one half."""
    monitor = LabelFreeMonitor()
    monitor.result = LabelFree([Reading("order", ours, 0.5, 100, 0.5)], (4.0, 4.0), 24)
    return monitor


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        ("vjepa fit pretrain --scale own --run own", "vjepa fit pretrain --scale own --run own-longer"),
        ("vjepa fit pretrain --scale own --run=own --trainer.max_steps=2000",
         "vjepa fit pretrain --scale own --run own-longer"),
        ("vjepa fit pretrain --data.train a.csv", "vjepa fit pretrain --data.train a.csv --run own-longer"),
        ("vjepa fit pretrain --out runs/own/pretrain",
         "vjepa fit pretrain --out runs/own/pretrain-longer"),
        ("python -m stages.pretrain fit --config a.yaml --out runs/own/pretrain",
         "python -m stages.pretrain fit --config a.yaml --out runs/own-longer/pretrain"),
    ],
)  # fmt: skip
def test_who_learned_nothing_is_told_to_train_longer(typed, command, clips_manifest, monkeypatch):
    stage = SimpleNamespace(total_steps=2000)
    data = clip_data(unlabelled(clips_manifest))
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr(closing_lines.sys, "orig_argv", typed.split())
    out = Path("runs/own/pretrain")
    nothing = closing_lines.next_command("pretrain", trainer_of(data, stage, None, [judged(0.5)]), out)
    assert nothing == f"{command} --trainer.max_steps 4000"
    something = closing_lines.next_command("pretrain", trainer_of(data, stage, None, [judged(0.9)]), out)
    assert " cooldown " in something or "stages.cooldown" in something


@pytest.mark.parametrize("trial", [{"overfit_batches": 1}, {"overfit_batches": 0.5}, {"fast_dev_run": 2}])
def test_a_trial_on_a_few_clips_is_not_judged(trial, clips_manifest, tmp_path):
    data = clip_data(unlabelled(clips_manifest))
    trainer = fit(pretrain(), data, tmp_path, steps=4, **trial)
    assert not (tmp_path / "label_free.json").exists()
    told = closing_lines.next_command("pretrain", trainer, tmp_path)
    assert ("without trainer.overfit_batches" in told) == ("overfit_batches" in trial)
    assert "longer" not in told


def test_make_is_told_to_train_longer_too(monkeypatch):
    monkeypatch.setenv("MAKELEVEL", "1")
    monkeypatch.setenv("MAKEFLAGS", r" -- RUN=own ARGS=--data.workers\ 1\ --trainer.max_steps\ 40 SCALE=own")
    told = closing_lines.longer_command("pretrain", 80, Path("runs/own/pretrain"))
    arguments = "'ARGS=--data.workers 1 --trainer.max_steps 80'"
    assert told == f"make pretrain RUN=own-longer {arguments} SCALE=own"


def test_ramps_that_are_longer_than_the_run_name_their_settings(clips_manifest, tmp_path, capsys):
    stage = pretrain()
    stage.optim = OptimConfig(lr=Schedule(1e-3, start=0.0, warmup=2, final=0.0, decay=1))
    fit(stage, clip_data(clips_manifest), tmp_path, 2, callbacks=[OptimizerMonitor()])
    (note,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("note: model.optim.lr")
    ]
    assert note.endswith("only 2; lower --model.optim.lr.warmup and --model.optim.lr.decay")


def test_the_loss_of_many_heads_is_shown_as_their_mean(capsys):
    bar = StepProgress()
    trainer = Mock(spec=L.Trainer, estimated_stepping_batches=1, global_step=1, accumulate_grad_batches=1)
    trainer.train_dataloader = SimpleNamespace(waited=0.0)
    bar.on_train_start(trainer, None)
    bar.on_train_batch_end(trainer, SimpleNamespace(summed_losses=6), {"loss": 4.2}, None, 0)
    assert capsys.readouterr().err.rstrip().endswith("loss 0.7")


def test_without_labels_a_cooldown_is_followed_by_looking(clips_manifest, tmp_path):
    data = clip_data(unlabelled(clips_manifest))
    command = closing_lines.next_command("cooldown", trainer_of(data, pretrain()), tmp_path)
    assert command == f"vjepa look VIDEO --encoder {tmp_path}/model.safetensors"


def test_scores_stand_beside_their_controls(tmp_path):
    rows = [{"name": "our encoder", "value": 0.8, "measure": "accuracy"}, {"name": "chance", "value": 0.125}]
    (tmp_path / "scores.json").write_text(json.dumps(rows))
    score = closing_lines.score_line("probe", trainer_of(), tmp_path)
    assert score == "test accuracy: our encoder 0.800, chance 0.125"

    errors = {"model": [0.1, 0.2], "persistence": [0.3, 0.4]}
    (tmp_path / "horizons.json").write_text(json.dumps({"errors": errors}))
    score = closing_lines.score_line("ac", trainer_of(), tmp_path)
    assert score == "error 2 actions ahead: predictor 0.200, standing still 0.400"

    metrics = {"val/loss": 0.1, "val/no_motion": 0.2}
    score = closing_lines.score_line("clone", trainer_of(metrics=metrics), tmp_path)
    assert score == "error of actions: policy 0.100, no motion 0.200"
    assert closing_lines.score_line("vlm", trainer_of(), tmp_path) is None


def test_labelled_video_gets_no_readings_without_labels(clips_manifest, tmp_path):
    fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=1)
    assert not (tmp_path / "label_free.json").exists()


def test_a_stopped_run_is_not_judged(clips_manifest, tmp_path):
    """Readings are of a finished run: one that was stopped goes on later."""
    stage = pretrain()
    stage.configure_callbacks = lambda: []
    monitor = LabelFreeMonitor()
    data = clip_data(unlabelled(clips_manifest))
    trainer = fit(stage, data, tmp_path, steps=2, callbacks=[monitor])
    assert monitor.result is not None
    monitor.result = None
    trainer.fit_loop.epoch_loop.max_steps = 3
    monitor.on_train_end(trainer, stage)
    assert monitor.result is None


def test_a_run_that_was_stopped_after_its_last_step_is_judged_all_the_same(clips_manifest, tmp_path):
    data = clip_data(unlabelled(clips_manifest))
    results = []
    for file in (None, tmp_path / "step=2.ckpt"):
        stage = pretrain()
        stage.configure_callbacks = lambda: []
        monitor = LabelFreeMonitor()
        callbacks = [monitor, ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2)]
        more = {"callbacks": callbacks, "enable_checkpointing": True}
        trainer = fit(stage, data, tmp_path, 2, ckpt_path=file, **more)
        if file:
            end_training(trainer, stage)
        results.append(monitor.result)
    assert results[0] == results[1] and results[0].loss_over_mean


def test_read_outs_begin_with_the_untrained_encoder_and_survive_a_resume(clips_manifest, tmp_path):
    def monitor() -> ReadOutMonitor:
        readout = ReadOutConfig(cells=(1,), few=0)
        return ReadOutMonitor(str(clips_manifest), str(clips_manifest), CLIP, 100, 12, readout)

    logger = TensorBoardLogger(tmp_path, name="", version="")
    first = monitor()
    settings = {"callbacks": [first], "logger": logger}
    trainer = fit(pretrain(), clip_data(clips_manifest), tmp_path, 2, **settings)
    assert set(first.first) == set(first.last) == {"label_linear"}
    # The clips of the last read-out are in the embedding projector, with labels and thumbnails.
    (labels,) = tmp_path.rglob("metadata.tsv")
    assert len(labels.read_text().split()) == 12 and list(tmp_path.rglob("sprite.png"))

    trainer.save_checkpoint(tmp_path / "step=2.ckpt")
    second = monitor()
    settings = {"callbacks": [second], "ckpt_path": tmp_path / "step=2.ckpt"}
    trainer = fit(pretrain(), clip_data(clips_manifest), tmp_path, 4, **settings)
    assert second.first == first.first
    score = closing_lines.score_line("pretrain", trainer, tmp_path)
    assert score.startswith("label_linear ") and ", untrained " in score


def test_a_folder_of_another_recipe_names_the_options_of_all_programs(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_recipe({"model": {"context": 8}})
    folder.export.touch()
    with pytest.raises(
        UserError, match=r"8 -> 16\); choose another --out \(RUN= with make, --run with vjepa"
    ):
        folder.check_recipe({"model": {"context": 16}})

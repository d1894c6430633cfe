"""Settings of Lightning's Trainer: every one works, is refused in one sentence, or has no meaning here."""

import inspect
import re
import shlex
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch import loggers
from lightning.pytorch.callbacks import BaseFinetuning, ModelCheckpoint
from lightning.pytorch.plugins import AsyncCheckpointIO
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stages.pretrain import Pretrain
from stages.probe import Probe
from tests.stage_runs import equal, fit
from tests.stages.test_stages import CLIP, TINY, clip_data, pretrain
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.loader import Epoch, GlobalOrder
from vjepa.errors import UserError
from vjepa.evaluation.probe_data import ProbeData
from vjepa.models.encoder import Encoder
from vjepa.models.probe import ProbeConfig
from vjepa.training import trainer_settings
from vjepa.training.image_monitor import ImageMonitor
from vjepa.training.machine import MachineRecord
from vjepa.training.pretraining_monitors import CollapseMonitor
from vjepa.training.stage_cli import run
from vjepa.training.tensorboard_layout import RunDescription
from vjepa.training.trainer_settings import (
    REFUSED,
    check_callbacks,
    check_trainer_settings,
    is_installed,
    our_plugins,
)
from vjepa.weights.export import encoder_part, export

SETTINGS = inspect.signature(L.Trainer.__init__).parameters.keys() - {"self"}
RECIPE = """
model:
  encoder: {width: 48, depth: 2, heads: 4, mlp_width: 96, patch: 8}
  predictor: {width: 24, depth: 1, heads: 2, mlp_width: 48}
  masks: {kinds: [{blocks: 2, scale: 0.2}], group: 8}
  optim: {lr: {peak: 0.001}}
data:
  train: [{manifest: MANIFEST}]
  val: MANIFEST
  clip: {frames: 4, fps: 8, size: 32}
  batch_size: 8
  workers: 0
trainer:
  accelerator: cpu
  max_steps: 4
  check_val_every_n_epoch: null
  val_check_interval: 2
  num_sanity_val_steps: 0
  callbacks: [{class_path: vjepa.training.image_monitor.ImageMonitor, init_args: {every: 2}}]
checkpoint: {every_n_train_steps: 2}
"""
# What Lightning carries out, tried in whole runs. An epoch of the recipe has 3 batches.
RUNS = (
    "--trainer.devices 1 --trainer.num_nodes 1 --trainer.strategy auto --trainer.max_steps 2 "
    "--trainer.limit_train_batches 2 --trainer.limit_val_batches 0.5 --trainer.num_sanity_val_steps 1 "
    "--trainer.val_check_interval 0.5 --trainer.check_val_every_n_epoch 1 --trainer.log_every_n_steps 1 "
    "--trainer.profiler simple --trainer.deterministic warn --trainer.detect_anomaly true "
    "--trainer.inference_mode false --trainer.enable_progress_bar false --trainer.enable_model_summary true",
    "--trainer.max_steps -1 --trainer.max_epochs 1 --trainer.precision bf16-mixed --trainer.benchmark true "
    "--trainer.gradient_clip_val 0.1 --trainer.gradient_clip_algorithm value --trainer.deterministic true "
    "--trainer.accumulate_grad_batches 3 --trainer.val_check_interval 00:00:00:01 --trainer.logger false "
    "--trainer.limit_test_batches 1 --trainer.plugins+=LightningEnvironment --trainer.callbacks null",
    "--trainer.fast_dev_run 1",
)
TRIED_ALONE = {"accelerator", "enable_checkpointing", "max_time", "overfit_batches"}
"""Settings that work, and have a test of their own below; the recipe itself gives the first."""
NO_MEANING = {"enable_autolog_hparams"}
"""No stage saves hyper-parameters, so there is nothing to leave out."""
WRONG = [
    ("barebones", True, "checkpoints to continue"),
    ("default_root_dir", "/tmp", "with --out"),
    ("limit_predict_batches", 2, "vjepa features"),
    ("min_epochs", 2, "hold up"),
    ("min_steps", 2, "hold up"),
    ("model_registry", "mine", "model.safetensors"),
    ("reload_dataloaders_every_n_epochs", 1, "no end"),
    ("sync_batchnorm", True, "no batch norm|no network"),
    ("use_distributed_sampler", True, "share samples out"),
    ("enable_checkpointing", False, "save_top_k"),
    ("accumulate_grad_batches", 0, "above 0"),
    ("check_val_every_n_epoch", 0, "above 0"),
    ("limit_train_batches", 0, "above 0"),
    ("limit_test_batches", 0.0, "above 0"),
    ("log_every_n_steps", 0, "above 0"),
    ("log_every_n_steps", -1, "above 0"),
    ("val_check_interval", 0, "above 0"),
    ("gradient_clip_val", -1.0, "above 0"),
    ("precision", "64-true", "weights are float32"),
    ("precision", "bf16-true", "weights are float32"),
    ("precision", "transformer-engine", "weights are float32"),
    ("precision", "16-mixed", "needs a GPU"),
    ("strategy", "fsdp", "or on several \\(ddp; fsdp2"),
    ("strategy", "ddp_spawn", "or on several \\(ddp; fsdp2"),
    ("strategy", Namespace(class_path="lightning.pytorch.strategies.ModelParallelStrategy"), "fsdp2"),
    ("strategy", Namespace(class_path="lightning.pytorch.strategies.DeepSpeedStrategy"), "DeepSpeedStrategy"),
    ("max_steps", 0, "length of a run"),
    ("max_steps", -1, "length of a run"),
    ("max_steps", -5, "length of a run"),
    ("max_epochs", 0, "length of a run"),
    ("logger", Namespace(class_path="lightning.pytorch.loggers.WandbLogger"), "pip install wandb"),
    ("logger", [Namespace(class_path="a.b.MLFlowLogger")], "pip install mlflow"),
    ("callbacks", [Namespace(class_path="lightning.pytorch.callbacks.EarlyStopping")], "trainer.max_steps"),
    ("callbacks", [Namespace(class_path="lightning.pytorch.callbacks.Timer")], "set trainer.max_time"),
    ("callbacks", [Namespace(class_path="lightning.pytorch.callbacks.BackboneFinetuning")], "which of its"),
    ("callbacks", [Namespace(class_path=f"{__name__}.MyFinetuning")], "MyFinetuning cannot .* which of its"),
    ("max_time", {"hours": -1}, "not negative"),
]


class MyFinetuning(BaseFinetuning):
    """A user's own."""


@pytest.fixture
def recipe(clips_manifest, tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("MANIFEST", str(clips_manifest)))
    return path


@pytest.fixture
def pretraining(recipe, tmp_path, monkeypatch, capsys):
    """Run the stage's command with these words in a folder `run`: its status, and what it printed."""

    def pretraining(words: str, folder: str = "run", command: str = "fit") -> tuple[int, str]:
        typed = ["--config", str(recipe), "--out", str(tmp_path / folder), *shlex.split(words)]
        monkeypatch.setattr(sys, "argv", ["pretrain", command, *typed])
        status = 0
        try:
            run(Pretrain, ClipData)
        except SystemExit as end:
            status = end.code
        output = capsys.readouterr()
        return status, output.out + output.err

    return pretraining


def settings(**changes) -> Namespace:
    """The settings of a recipe with `max_steps`, as the command line parses them."""
    parameters = inspect.signature(L.Trainer.__init__).parameters
    defaults = {name: parameters[name].default for name in SETTINGS}
    ours = {"max_steps": 4, "use_distributed_sampler": False, "accelerator": "cpu"}
    return Namespace(**defaults | ours | changes)


def test_every_setting_of_the_trainer_is_tried_refused_or_without_meaning():
    """A setting that a later Lightning brings fails here, until somebody tries it."""
    in_runs = set(re.findall(r"--trainer\.(\w+)", " ".join(RUNS)))
    works = in_runs | TRIED_ALONE
    assert works | REFUSED.keys() | NO_MEANING == SETTINGS
    assert not works & REFUSED.keys()
    assert REFUSED.keys() <= {name for name, _, _ in WRONG}


@pytest.mark.parametrize("words", RUNS)
def test_settings_that_lightning_carries_out_finish_a_run(words, pretraining, tmp_path):
    status, output = pretraining(words)
    assert status == 0, output
    assert (tmp_path / "run/model.safetensors").exists() == ("fast_dev_run" not in words)


@pytest.mark.parametrize(("name", "value", "told"), WRONG, ids=lambda value: str(value)[:40])
def test_other_settings_are_refused_in_one_sentence(name, value, told, monkeypatch):
    monkeypatch.setattr(trainer_settings, "is_installed", lambda package: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_trainer_settings(settings(), is_fit=True)
    with pytest.raises(UserError, match=told) as refused:
        check_trainer_settings(settings(**{name: value}), is_fit=True)
    assert f"trainer.{name}" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--trainer.min_steps 3", "trainer.min_steps=3"),
        ("--trainer.devices -1", "trainer: `devices`"),
        ("--trainer.accelerator tpu", "trainer.accelerator=tpu: give auto, cpu"),
        ("--trainer.logger NoLogger", "--trainer.logger NoLogger: no class"),
        ("--trainer.callbacks+=torch.nn.Linear", "torch.nn.Linear: no class that fits"),
        ("--trainer.callbacks+=ThroughputMonitor", "a class in it needs batch_size_fn"),
        ("--trainer.callbacks+=EarlyStopping", "EarlyStopping cannot be had here"),
        ("--trainer.callbacks+=ModelPruning", "ModelPruning cannot be had here"),
        ("--trainer.logger LitLogger", "trainer.logger=LitLogger needs the package litlogger"),
        ("--trainer.logger '{class_path: LitLogger, init_args: {name: mine}}'", "pip install litlogger"),
        ("--trainer.max_time '{hours: -1}'", "trainer.max_time={'hours': -1}: give a time"),
        ("--trainer.overfit_batches 2 --trainer.limit_train_batches 1", "both given"),
        ("--checkpoint.filename '../{step}'", "checkpoint.filename=../{step}: a run continues from"),
        ("--trainer.plugins+=AsyncCheckpointIO", "plugin of its own"),
        ("--trainer.val_check_interval 4 --trainer.check_val_every_n_epoch 1", "the 3 batches of an epoch"),
        ("--trainer.limit_train_batches 0.1", "less than one batch"),
        ("--trainer.overfit_batches 1 --trainer.accumulate_grad_batches 2", "give a multiple of 2"),
    ],
)  # fmt: skip
def test_the_command_says_it_in_one_sentence_and_trains_nothing(words, told, pretraining, tmp_path):
    status, output = pretraining(words)
    assert status == 2 and told in output and "Traceback" not in output
    assert output.strip().splitlines()[-1].startswith("error: ")
    assert not list(tmp_path.rglob("*.ckpt")) and not list(tmp_path.rglob("model.safetensors"))


def test_a_checkpoint_plugin_of_the_recipe_would_take_the_place_of_ours():
    with pytest.raises(UserError, match="AsyncCheckpointIO"):
        our_plugins([AsyncCheckpointIO()])
    assert len(our_plugins(None)) == 1


class Seen(L.Callback):
    """The samples of every batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def on_train_batch_start(self, trainer, stage, batch, batch_idx) -> None:
        self.batches.append(batch.index.tolist())


def seen(manifest: Path, folder: Path, steps: int, **changes) -> list[list[int]]:
    monitor = Seen()
    fit(pretrain(), clip_data(manifest), folder, steps, callbacks=[monitor], **changes)
    return monitor.batches


FIRST, SECOND, THIRD, FOURTH = (list(range(8 * i, 8 * i + 8)) for i in range(4))


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        (1, [FIRST, FIRST, FIRST, FIRST]),
        (2, [FIRST, SECOND, FIRST, SECOND]),
        (0.4, [FIRST, FIRST, FIRST, FIRST]),  # of 3 batches
        (50, [FIRST, SECOND, THIRD, FIRST]),
    ],
)
def test_overfitting_takes_the_same_batches_in_every_epoch(batches, expected, clips_manifest, tmp_path):
    assert seen(clips_manifest, tmp_path, 4, overfit_batches=batches) == expected


@pytest.mark.parametrize("limit", [1, 2, 0.4, 1.0])
def test_a_limit_makes_epochs_shorter_and_leaves_the_order(limit, clips_manifest, tmp_path):
    expected = [FIRST, SECOND, THIRD, FOURTH]
    assert seen(clips_manifest, tmp_path, 4, limit_train_batches=limit) == expected


@pytest.mark.parametrize("changes", [{"overfit_batches": 2}, {"limit_train_batches": 2}])
def test_runs_with_short_epochs_resume_exactly(changes, clips_manifest, tmp_path):
    straight, first, second = (pretrain() for _ in range(3))
    fit(straight, clip_data(clips_manifest), tmp_path, 5, **changes)
    trainer = fit(first, clip_data(clips_manifest), tmp_path, 3, **changes)
    trainer.save_checkpoint(tmp_path / "step=3.ckpt")
    fit(second, clip_data(clips_manifest), tmp_path, 5, ckpt_path=tmp_path / "step=3.ckpt", **changes)
    assert equal(straight, second)


def test_overfitting_ranks_repeat_batches_of_their_own():
    orders = [GlobalOrder(Epoch(5, 2, repeats=True), 3, rank, 2) for rank in (0, 1)]
    first = [list(order) for order in orders]
    assert first == [[[0, 1, 2], [6, 7, 8]], [[3, 4, 5], [9, 10, 11]]]
    for order in orders:
        order.consumed = 3  # in the second epoch
    assert [list(order) for order in orders] == [batches[1:] for batches in first]


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bf16-mixed"},
        {"gradient_clip_val": 1e-9},
        {"gradient_clip_val": 1e-9, "gradient_clip_algorithm": "value"},
    ],
)
def test_precision_and_clipping_change_the_weights(changes, clips_manifest, tmp_path):
    plain, changed = pretrain(), pretrain()
    fit(plain, clip_data(clips_manifest), tmp_path, 1)
    fit(changed, clip_data(clips_manifest), tmp_path, 1, **changes)
    assert not equal(plain, changed)


def test_a_grid_of_heads_is_not_clipped_together(clips_manifest, tmp_path):
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY))}, {})
    rows = str(clips_manifest)

    def train(**changes) -> L.Trainer:
        stage = Probe(str(tmp_path / "encoder.safetensors"), 2, ProbeConfig(depth=1, heads=4))
        data = LabelledClipData([Source(rows)], rows, rows, CLIP, batch_size=4, workers=0)
        return fit(stage, data, tmp_path, 1, gradient_clip_val=1.0, **changes)

    with pytest.raises(UserError, match="norm over all heads"):
        train()
    assert train(gradient_clip_algorithm="value").global_step == 1


def test_a_monitor_of_pretraining_is_refused_in_other_stages():
    monitors = [CollapseMonitor(), L.Callback()]
    check_callbacks(monitors, pretrain())
    check_callbacks(monitors[1:], L.LightningModule())
    with pytest.raises(
        UserError, match=r"trainer\.callbacks: CollapseMonitor watches how an encoder is trained"
    ):
        check_callbacks(monitors, L.LightningModule())


def test_a_run_whose_time_is_up_keeps_its_step_and_goes_on(pretraining, tmp_path):
    status, output = pretraining("--trainer.max_time 00:00:00:00 --trainer.accumulate_grad_batches 2")
    step = int(re.search(r"stopped after step (\d+); the same command", output)[1])
    assert status == 75 and 1 <= step <= 2
    assert (tmp_path / f"run/checkpoints/step={step}.ckpt").exists()
    status, output = pretraining("--trainer.max_time 00:01:00:00 --trainer.accumulate_grad_batches 2")
    assert status == 0 and f"continuing after step {step}" in output


def test_the_length_may_be_epochs_and_schedules_know_it(pretraining, clips_manifest, tmp_path):
    stage = pretrain()
    fit(stage, clip_data(clips_manifest), tmp_path, -1, max_epochs=2)
    assert stage.total_steps == 6
    fit(stage := pretrain(), clip_data(clips_manifest), tmp_path, 4, max_epochs=2)
    assert stage.total_steps == 4


CUTS = {
    "epochs": {"max_epochs": 3},
    "validations": {"max_epochs": 3, "check_val_every_n_epoch": None, "val_check_interval": 2},
    "halves": {"max_epochs": 3, "accumulate_grad_batches": 2, "val_check_interval": 0.5},
    "no validation": {"max_epochs": 3, "accumulate_grad_batches": 2, "limit_val_batches": 0},
    "steps": {},
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_run_that_is_interrupted_after_every_step_ends_as_one_that_is_not(cut, clips_manifest, tmp_path):
    settings = {"enable_checkpointing": True} | CUTS[cut]
    steps = -1 if "max_epochs" in settings else 9
    batches = settings.get("accumulate_grad_batches", 1)
    file = None
    for step in range(1, 10):
        every = {"dirpath": tmp_path / f"{step}", "every_n_train_steps": 1, "save_top_k": -1}
        record = MachineRecord({"accumulate_grad_batches": batches})
        settings["callbacks"] = [record, ModelCheckpoint(filename="{step}", **every)]
        stage = pretrain()
        trainer = fit(stage, clip_data(clips_manifest, 8 // batches), tmp_path, steps, file, **settings)
        file = tmp_path / f"{step}/step={step}.ckpt"
        straight = stage if step == 1 else straight
        assert trainer.global_step == 9 and equal(straight, stage), step


def test_a_look_says_what_it_lacks(pretraining):
    told = {
        ("validate", ""): "run holds no checkpoint",
        ("test", ""): "pretrain has no test; `validate` measures it",
    }
    for (command, words), sentence in told.items():
        status, output = pretraining(words, command=command)
        assert status == 2 and sentence in output
    assert pretraining("--trainer.max_steps 2")[0] == 0
    for words in ("--trainer.limit_val_batches 0", "--data.val null"):
        status, output = pretraining(words, command="validate")
        assert status == 2 and "nothing was validated; give data.val" in output


def content(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_look_leaves_the_files_of_the_run_as_they_were(clips_manifest, tmp_path, monkeypatch, capsys):
    """Also a look at less than the whole test."""
    export(tmp_path / "encoder.safetensors", {"ema": encoder_part(Encoder(TINY))}, {})
    header, *lines = clips_manifest.read_text().splitlines()
    for number, split in enumerate(("train", "val", "test")):
        clips = [f"{clips_manifest.parent}/{line}" for line in lines[number::3]]
        (tmp_path / f"{split}.csv").write_text("\n".join([header, *clips]))
    rows = f"--data.train {tmp_path}/train.csv --data.val {tmp_path}/val.csv --data.test {tmp_path}/test.csv"
    sizes = "--model.classes 2 --model.probe '{depth: 1, heads: 4}' --data.workers 0 --data.batch_size 4"
    clip = "--data.clip '{frames: 4, fps: 8, size: 32}' --trainer.max_steps 1 --trainer.accelerator cpu"
    words = f"--out {tmp_path}/run --model.encoder {tmp_path}/encoder.safetensors {rows} {sizes} {clip}"

    def probing(command: str, more: str = "") -> str:
        monkeypatch.setattr(sys, "argv", ["probe", command, *shlex.split(f"{words} {more}")])
        run(Probe, ProbeData)
        return capsys.readouterr().out

    probing("fit")
    before = content(tmp_path / "run")
    for command in ("test", "validate"):
        output = probing(command, "--trainer.limit_test_batches 1 --trainer.limit_val_batches 1")
        assert f"run/{command} holds what this {command} wrote" in output
    after = content(tmp_path / "run")
    assert before.items() <= after.items()
    scores = tmp_path / "run/test/scores.json"
    assert after[scores] != before[tmp_path / "run/scores.json"]
    assert not [file for file in after.keys() - before.keys() if file.parent == tmp_path / "run"]


def test_the_table_of_an_earlier_start_is_kept(pretraining, tmp_path):
    """Lightning's CSVLogger deletes it, in another start of this run, and of any other one."""
    table = f"{{class_path: CSVLogger, init_args: {{save_dir: {tmp_path}, name: t, version: v}}}}"
    words = f"--trainer.max_steps 2 --trainer.logger '{table}'"
    assert pretraining(words)[0] == 0
    first = (tmp_path / "t/v/metrics.csv").read_bytes()
    for number, (folder, command) in enumerate([("other", "fit"), ("other", "validate")], 1):
        status, output = pretraining(words, folder, command)
        assert status == 0 and f"is of an earlier start, and is {tmp_path}/t/v/metrics.{number}.csv" in output
    assert (tmp_path / "t/v/metrics.1.csv").read_bytes() == first
    assert (tmp_path / "t/v/metrics.2.csv").exists()


class Numbers(loggers.Logger):
    """A logger as other packages have them: it takes numbers, and its experiment has no `add_image`."""

    name = "numbers"
    version = 0
    experiment = object()

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    def log_metrics(self, metrics, step=None) -> None:
        self.values |= metrics

    def log_hyperparams(self, *params, **more) -> None:
        """A stage has none."""


def test_loggers_without_pictures_get_the_numbers(clips_manifest, tmp_path):
    logger = Numbers()
    callbacks = [ImageMonitor(every=1), RunDescription("pretrain", tmp_path)]
    callbacks.append(CollapseMonitor())
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 1, callbacks=callbacks, logger=logger)
    assert "collapse/effective_rank" in logger.values


def test_several_loggers_share_a_run_and_pictures_go_to_tensorboard(pretraining, tmp_path):
    board = f"{{class_path: TensorBoardLogger, init_args: {{save_dir: {tmp_path}/board}}}}"
    table = f"{{class_path: CSVLogger, init_args: {{save_dir: {tmp_path}/table}}}}"
    status, output = pretraining(f"--trainer.logger '[{board}, {table}]'")
    assert status == 0, output
    (events,) = (tmp_path / "board").rglob("events*")
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    assert accumulator.Tags()["images"]
    (metrics,) = (tmp_path / "table").rglob("metrics.csv")
    assert "val/loss" in metrics.read_text()


def test_the_word_true_means_our_own_logger(pretraining, tmp_path):
    assert pretraining("--trainer.logger true --trainer.max_steps 2")[0] == 0
    assert list((tmp_path / "run").glob("events*")) and not (tmp_path / "run/lightning_logs").exists()


def test_every_logger_of_lightning_names_the_package_it_needs():
    built_in = {"Logger", "CSVLogger", "TensorBoardLogger"}
    assert set(loggers.__all__) | {"LitLogger"} == built_in | trainer_settings.PACKAGES.keys()


def test_a_folder_is_no_package(tmp_path, monkeypatch):
    """Loggers write folders of their own name beside the run, which Python would import."""
    (tmp_path / "comet_mlx").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("comet_mlx") and not is_installed("no_package_of_this_name")
    (tmp_path / "comet_mlx/__init__.py").touch()
    assert is_installed("comet_mlx")


def test_one_module_reaches_for_the_experiments_of_loggers():
    root = Path(__file__).parents[2]
    files = [*(root / "src").rglob("*.py"), *(root / "stages").rglob("*.py")]
    reaching = [file.name for file in files if re.search(r"\.experiment\b", file.read_text())]
    assert sorted(reaching) == ["event_writers.py", "loggers.py"]  # the second defines that of our own

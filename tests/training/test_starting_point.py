"""Where a command begins: a fit finds its checkpoint whatever its name, and no look is at random weights."""

import inspect
import shutil
import sys
from dataclasses import replace

import lightning as L
import pytest
import torch
import yaml
from jsonargparse import set_parsing_settings
from lightning.pytorch.callbacks import ModelCheckpoint

from stages.ac import ActionConditioned
from stages.anticipate import Anticipate
from stages.clone import Clone
from stages.cooldown import Cooldown
from stages.pretrain import Pretrain
from stages.probe import Probe
from stages.vlm import VLM
from tests.stage_runs import QUIET, equal, fit
from tests.stages.test_stages import NARROW, clip_data, pretrain
from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.command.recipes import recipe_folder
from vjepa.data.clip_data import ClipData
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.errors import UserError
from vjepa.language.caption_data import CaptionData
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.training.checkpoint_settings import (
    REFUSED,
    WORKING,
    MonitoredMetric,
    check_checkpoint_settings,
)
from vjepa.training.moved import accept_old_names
from vjepa.training.run_folder import RunFolder, differences
from vjepa.training.stage_cli import StageCLI
from vjepa.training.stage_parser import StageParser
from vjepa.training.starting_point import asked_checkpoint, misfit_as_sentence
from vjepa.weights.checkpoints import checkpoint_in, newest_checkpoint, step_of
from vjepa.weights.files import CheckpointError


def saving(folder, **settings) -> ModelCheckpoint:
    """Lightning's callback as the command line makes it, with these settings."""
    ours = {"enable_version_counter": False, "every_n_train_steps": 2, "filename": "{step}"}
    return ModelCheckpoint(folder / "checkpoints", **ours | settings)


def validated(manifest) -> ClipData:
    data = clip_data(manifest)
    data.val = str(manifest)
    return data


@pytest.fixture(scope="module")
def straight(clips_manifest, tmp_path_factory) -> Pretrain:
    stage = pretrain()
    fit(stage, clip_data(clips_manifest), tmp_path_factory.mktemp("straight"), steps=6)
    return stage


@pytest.mark.parametrize(
    "settings",
    [
        {"filename": "{epoch}-{step}"},
        {"filename": "mine"},
        {"filename": "of/two/folders-{step}"},
        {"filename": "{step:08d}", "save_top_k": -1},
        {"filename": None, "save_last": True},
        {"filename": "x", "save_last": "link", "enable_version_counter": True, "save_top_k": -1},
    ],
)
def test_a_run_continues_from_a_checkpoint_of_any_name(settings, straight, clips_manifest, tmp_path):
    data = clip_data(clips_manifest)
    cut = {"enable_checkpointing": True, "callbacks": [saving(tmp_path, **settings)]}
    fit(pretrain(), data, tmp_path, steps=4, **cut)
    newest = RunFolder(tmp_path).newest_checkpoint()
    assert step_of(newest) == 4 and RunFolder(tmp_path).keeps(4) and not RunFolder(tmp_path).keeps(5)
    again = pretrain()
    fit(again, data, tmp_path, steps=6, ckpt_path=newest)
    assert equal(again, straight)


def write_checkpoint(file, step: int, **more) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"global_step": step, "optimizer_states": []} | more, file)


def test_the_content_says_the_step_and_names_only_break_ties(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path / "step=90.ckpt", 3)
    write_checkpoint(tmp_path / "epoch=1.ckpt", 7)
    write_checkpoint(tmp_path / "step=7-v1.ckpt", 7)
    write_checkpoint(tmp_path / "step=7.ckpt", 7)
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch=1.ckpt"
    (tmp_path / "epoch=1.ckpt").unlink()
    assert newest_checkpoint(tmp_path) == tmp_path / "step=7.ckpt"
    torch.save({"global_step": 9, "state_dict": {}}, tmp_path / "weights-only.ckpt")
    (tmp_path / "sharded.ckpt").mkdir()
    (tmp_path / "empty.ckpt").touch()
    assert newest_checkpoint(tmp_path) == tmp_path / "step=7.ckpt"


def test_weights_alone_are_no_beginning(tmp_path):
    torch.save({"global_step": 9, "state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(
        CheckpointError, match=r"none of the checkpoints in .* hold weights alone; remove them"
    ):
        newest_checkpoint(tmp_path)


def test_a_folder_of_runs_is_no_folder_of_checkpoints(tmp_path):
    write_checkpoint(tmp_path / "a/checkpoints/step=3.ckpt", 3)
    write_checkpoint(tmp_path / "b/checkpoints/step=4.ckpt", 4)
    with pytest.raises(CheckpointError, match="holds no checkpoint; give a folder of"):
        checkpoint_in(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"a holds no checkpoint, but .*a/checkpoints is a folder of them"
    ):
        checkpoint_in(tmp_path / "a")


def test_every_setting_of_model_checkpoint_works_or_is_refused():
    parameters = set(inspect.signature(ModelCheckpoint).parameters)
    assert parameters == set(WORKING) | set(REFUSED) and not set(WORKING) & set(REFUSED)
    usual = {name: p.default for name, p in inspect.signature(ModelCheckpoint).parameters.items()}
    check_checkpoint_settings(usual)
    for name in ("save_weights_only", "save_on_exception"):
        with pytest.raises(UserError, match=rf"^checkpoint\.{name}: .*leave it out"):
            check_checkpoint_settings(usual | {name: True})


def test_a_metric_that_is_never_measured_is_refused(clips_manifest, tmp_path):
    callbacks = [MonitoredMetric(), saving(tmp_path, monitor="val/loss")]
    with pytest.raises(UserError, match=r"checkpoint\.monitor=val/loss is not measured: .* give data\.val"):
        fit(
            pretrain(), clip_data(clips_manifest), tmp_path, 4, callbacks=callbacks, enable_checkpointing=True
        )


@pytest.fixture(scope="module")
def watched(clips_manifest, tmp_path_factory) -> RunFolder:
    """A run of six steps that keeps its two best checkpoints, with its recipe."""
    out = tmp_path_factory.mktemp("watched")
    settings = {"monitor": "val/loss", "mode": "max", "save_top_k": 2, "filename": "{step}-{val/loss:.3f}"}
    callbacks = [saving(out, **settings)]
    more = {"val_check_interval": 2, "check_val_every_n_epoch": None, "enable_checkpointing": True}
    fit(pretrain(), validated(clips_manifest), out, 6, callbacks=callbacks, **more)
    folder = RunFolder(out)
    folder.write_recipe({"model": {"encoder": {"heads": 4}, "optim": {"eps": 1}}})
    return folder


MODEL = {"encoder": {"heads": 4}, "optim": {"eps": 2}}


def test_best_is_the_one_that_the_metric_chose_and_last_the_newest(watched, tmp_path):
    moved = RunFolder(tmp_path / "moved")
    shutil.copytree(watched.path, moved.path)
    for folder in (watched, moved):
        kept = sorted(folder.checkpoints.rglob("*.ckpt"), key=step_of)
        best = asked_checkpoint(folder, "best", MODEL)
        assert best == kept[0] and best.is_relative_to(folder.path)  # the loss falls, and `max` was asked for
        assert asked_checkpoint(folder, "last", MODEL) == asked_checkpoint(folder, None, MODEL) == kept[-1]
        assert asked_checkpoint(folder, str(kept[-1]), MODEL) == kept[-1]
        assert asked_checkpoint(folder, str(folder.checkpoints), MODEL) == kept[-1]


def test_what_is_no_checkpoint_of_this_stage_is_one_sentence(watched, tmp_path):
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "text.ckpt").write_text("hello")
    torch.save({"encoder": {}}, tmp_path / "meta.pt")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/config.json").write_text("{}")
    asked = {
        "hpc": "there is no such file; give last, best, or a .ckpt file",
        "registry:model": "there is no such file",
        str(tmp_path / "none.ckpt"): "there is no such file",
        str(tmp_path / "model.safetensors"): "an export holds networks",
        str(tmp_path / "text.ckpt"): "text.ckpt",
        str(tmp_path / "meta.pt"): "this is no checkpoint of a stage",
        str(tmp_path / "hf"): "is a model of Hugging Face",
        str(watched.path): "is a folder of them",
    }
    for word, sentence in asked.items():
        with pytest.raises(UserError, match=sentence) as error:
            asked_checkpoint(watched, word, MODEL)
        assert "\n" not in str(error.value)


def test_an_empty_folder_has_neither_last_nor_best(tmp_path):
    assert asked_checkpoint(RunFolder(tmp_path), None, MODEL) is None
    for word in ("last", "best"):
        with pytest.raises(UserError, match=f"holds no checkpoint, so none is the {word}"):
            asked_checkpoint(RunFolder(tmp_path), word, MODEL)


def test_without_a_metric_none_is_the_best(clips_manifest, tmp_path):
    settings = {"callbacks": [saving(tmp_path)], "enable_checkpointing": True}
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 2, **settings)
    with pytest.raises(UserError, match=r"trained without checkpoint\.monitor, so none .* is the best; give"):
        asked_checkpoint(RunFolder(tmp_path), "best", MODEL)


def test_a_checkpoint_of_another_model_is_refused(watched, clips_manifest, tmp_path):
    """Also where the weights would fit, as with another number of heads."""
    with pytest.raises(
        UserError, match=r"another model \(encoder\.heads: 4 -> 2\); give --config .*config\.yaml"
    ):
        asked_checkpoint(watched, None, MODEL | {"encoder": {"heads": 2}})

    stage = pretrain(predictor=replace(NARROW, width=48))
    trainer = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET)
    newest = str(watched.newest_checkpoint())
    sentence = "ckpt does not fit this pretrain: it is of another stage or"
    with pytest.raises(CheckpointError, match=sentence), misfit_as_sentence(newest, "pretrain"):
        trainer.validate(stage, validated(clips_manifest), ckpt_path=newest, weights_only=True)


def test_a_look_at_init_from_is_at_those_weights(straight, clips_manifest, tmp_path):
    """Not at the weights with which the stage was made."""
    file = tmp_path / "step=6.ckpt"
    trainer = fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=6)
    trainer.save_checkpoint(file)
    stage = pretrain(init_from=str(file))
    looking = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET)
    looking.validate(stage, validated(clips_manifest), verbose=False)
    assert equal(stage, straight)


class Parsed(StageCLI):
    """Stops where a command's settings are known, before anything is made of them."""

    def before_instantiate_classes(self) -> None:
        raise StopIteration(self.recipe())


def resolved(monkeypatch, stage, data, *words: str) -> dict:
    """The recipe of a command line."""
    monkeypatch.setattr(sys, "argv", ["stage", "fit", *words])
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    accept_old_names()
    with pytest.raises(StopIteration) as stopped:
        Parsed(stage, data, seed_everything_default=0, save_config_callback=None, parser_class=StageParser)
    return stopped.value.value


STAGES = {
    "pretrain": (Pretrain, ClipData, ()),
    "cooldown": (Cooldown, ClipData, ("--model.init_from", "a/checkpoints")),
    "probe": (Probe, LabelledClipData, ("--model.encoder", "e")),
    "anticipate": (Anticipate, AnticipationData, ("--model.encoder", "e")),
    "ac": (ActionConditioned, TrajectoryData, ("--model.encoder", "e")),
    "clone": (Clone, TrajectoryData, ("--model.encoder", "e")),
    "vlm": (VLM, CaptionData, ("--model.encoder", "e", "--model.init_from", "a")),
}


@pytest.mark.parametrize("name", STAGES)
def test_the_recipe_of_a_run_can_be_given_back(name, monkeypatch, tmp_path):
    stage, data, words = STAGES[name]
    file = str(recipe_folder() / f"{name}.yaml")
    recipe = resolved(monkeypatch, stage, data, "--config", file, *words)
    written = tmp_path / "config.yaml"
    # As runs of version 0.2 wrote it too, with digests.
    written.write_text(yaml.safe_dump(recipe | {"digest": {"init_from": "0c7a"}}, sort_keys=False))
    again = resolved(monkeypatch, stage, data, "--config", str(written))
    assert again | {"config": None} == recipe | {"config": None}


@pytest.mark.parametrize("name", ["checkpoint.dirpath", "model.seed", "data.seed"])
def test_a_setting_that_follows_from_another_is_refused(name, monkeypatch, tmp_path):
    group, key = name.split(".")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({group: {key: 3}}))
    with pytest.raises(UserError, match=rf"mine\.yaml: {name} follows from another setting; give --"):
        resolved(monkeypatch, Pretrain, ClipData, "--config", str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("key", "value", "matters"),
    [
        ("trainer.log_every_n_steps", 7, False),
        ("trainer.logger", {"class_path": "lightning.pytorch.loggers.CSVLogger"}, False),
        ("trainer.profiler", "simple", False),
        ("trainer.max_time", "00:01:00:00", False),
        ("trainer.limit_val_batches", 3, False),
        ("trainer.callbacks", [{"class_path": "vjepa.training.image_monitor.ImageMonitor"}], False),
        ("trainer.callbacks", [{"class_path": "mine.Noise"}], True),
        ("trainer.max_steps", 7, True),
        ("trainer.precision", "bf16-mixed", True),
        ("trainer.gradient_clip_val", 1.0, True),
        ("trainer.limit_train_batches", 3, True),
        ("checkpoint.filename", "mine", False),
        ("checkpoint.every_n_train_steps", 7, False),
        ("data.max_bad_share", 0.5, False),
        ("data.batch_size", 7, True),
        ("model.optim.lr.peak", 7.0, True),
    ],
)
def test_only_what_changes_a_weight_belongs_to_a_recipe(key, value, matters):
    group, _, name = key.partition(".")
    assert bool(differences({group: {name: None}}, {group: {name: value}})) == matters


def test_checkpoints_without_their_recipe_are_not_continued(tmp_path):
    write_checkpoint(tmp_path / "checkpoints/mine.ckpt", 3)
    with pytest.raises(UserError, match=r"holds a run without its config\.yaml"):
        RunFolder(tmp_path).check_recipe({})

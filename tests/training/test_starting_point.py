"""Where a command begins: a fit finds its checkpoint whatever its name, and no look is at random weights."""

import inspect
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

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
from stages.decode import Decode
from stages.pretrain import Pretrain
from stages.probe import Probe
from stages.vlm import VLM
from tests.stage_runs import QUIET, RESUMABLE, equal, fit
from tests.stages.test_stages import CLIP, NARROW, TINY, clip_data, pretrain
from vjepa.benchmarks.anticipation_data import AnticipationData
from vjepa.command.recipes import recipe_folder
from vjepa.data.clip_data import ClipData, Source
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.errors import UserError
from vjepa.language.caption_data import CaptionData
from vjepa.models.encoder import Encoder
from vjepa.models.probe import ProbeConfig
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.training.checkpoint_settings import (
    REFUSED,
    WORKING,
    MonitoredMetric,
    check_checkpoint_settings,
    check_filename,
)
from vjepa.training.frozen_stage import DIGEST
from vjepa.training.moved import accept_old_names
from vjepa.training.run_folder import RunFolder, differences
from vjepa.training.stage_cli import StageCLI
from vjepa.training.stage_parser import StageParser
from vjepa.training.starting_point import (
    SETTINGS,
    asked_checkpoint,
    check_not_beyond,
    continued_checkpoint,
    misfit_as_sentence,
)
from vjepa.weights.checkpoints import checkpoint_in, newest_checkpoint, step_of
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError
from vjepa.weights.pickles import read_pickle


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
        {"filename": "mine", "monitor": "step", "mode": "max"},
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
    torch.save({"global_step": step} | RESUMABLE | more, file)


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
    assert checkpoint_in(tmp_path / "a") == tmp_path / "a/checkpoints/step=3.ckpt"  # the folder of a stage


def test_every_setting_of_model_checkpoint_works_or_is_refused():
    parameters = set(inspect.signature(ModelCheckpoint).parameters)
    assert parameters == set(WORKING) | set(REFUSED) and not set(WORKING) & set(REFUSED)
    usual = {name: p.default for name, p in inspect.signature(ModelCheckpoint).parameters.items()}
    check_checkpoint_settings(usual)
    for name in ("save_weights_only", "save_on_exception"):
        with pytest.raises(UserError, match=rf"^checkpoint\.{name}: .*leave it out"):
            check_checkpoint_settings(usual | {name: True})

    steps = usual | {"monitor": "val/loss", "every_n_train_steps": 100}
    with pytest.raises(UserError, match=r"saves before it; give --checkpoint\.every_n_train_steps null"):
        check_checkpoint_settings(steps)
    check_checkpoint_settings(steps | {"every_n_train_steps": None, "every_n_epochs": 1})
    check_checkpoint_settings(steps | {"monitor": "step"})

    one = usual | {"filename": "mine", "enable_version_counter": False}
    with pytest.raises(UserError, match=r"filename=mine would write each .* over the one before.* \{step\}"):
        check_checkpoint_settings(one)
    check_checkpoint_settings(one | {"filename": "mine-{step:06d}"})
    check_checkpoint_settings(one | {"monitor": "step"})


def test_a_metric_that_is_never_measured_is_refused(clips_manifest, tmp_path):
    callbacks = [MonitoredMetric(), saving(tmp_path, monitor="val/loss")]
    told = r"checkpoint\.monitor=val/loss is not measured; measured are epoch, step; .* need data\.val"
    with pytest.raises(UserError, match=told):
        fit(
            pretrain(), clip_data(clips_manifest), tmp_path, 4, callbacks=callbacks, enable_checkpointing=True
        )


def test_a_metric_with_a_typing_mistake_is_told_at_the_first_validation(clips_manifest, tmp_path):
    callbacks = [MonitoredMetric(), saving(tmp_path, monitor="val/los")]
    more = {"val_check_interval": 1, "check_val_every_n_epoch": None, "enable_checkpointing": True}
    with pytest.raises(UserError, match=r"measured are .*val/loss_over_mean.*; did you mean val/loss\?$"):
        fit(pretrain(), validated(clips_manifest), tmp_path, 4, callbacks=callbacks, **more)


def test_a_metric_of_a_validation_that_comes_every_other_epoch_is_waited_for(clips_manifest, tmp_path):
    callbacks = [MonitoredMetric(), saving(tmp_path, monitor="val/loss", every_n_train_steps=None)]
    more = {"max_epochs": 2, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}
    more["enable_checkpointing"] = True
    trainer = fit(pretrain(), validated(clips_manifest), tmp_path, -1, callbacks=callbacks, **more)
    assert trainer.checkpoint_callback.best_model_path.endswith("step=6.ckpt")


def test_a_step_is_a_metric_too(clips_manifest, tmp_path):
    """The usual way to keep the last few checkpoints."""
    callbacks = [MonitoredMetric(), saving(tmp_path, monitor="step", mode="max", save_top_k=2)]
    fit(pretrain(), clip_data(clips_manifest), tmp_path, 6, callbacks=callbacks, enable_checkpointing=True)
    kept = (tmp_path / "checkpoints").glob("*.ckpt")
    assert sorted(file.name for file in kept) == ["step=4.ckpt", "step=6.ckpt"]


@pytest.mark.parametrize(
    "name", ["../{step}", "/elsewhere/{step}", "a/checkpoints/{step}", "a/../../{step}", "checkpoints/{step}"]
)
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(UserError, match=rf"^checkpoint\.filename={re.escape(name)}: .* without \.\."):
        check_filename(name)


@pytest.mark.parametrize("name", ["{step", "{step:zz}", "{}", "step}", "{step:.2f"])
def test_a_name_that_cannot_be_filled_in_is_refused(name):
    with pytest.raises(UserError, match=rf"^checkpoint\.filename={re.escape(name)}: .* a pattern such as"):
        check_filename(name)


@pytest.mark.parametrize("name", [None, "", "..", "checkpoints", "a/b-{val/loss:.3f}", "{step:06d}"])
def test_other_names_are_left_to_the_recipe(name):
    check_filename(name)


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
        assert asked_checkpoint(folder, str(folder.path), MODEL) == kept[-1]


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
        str(tmp_path): "none of the checkpoints",
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


@pytest.mark.parametrize(
    "damage",
    [
        {"callbacks": None},
        {"callbacks": {"ModelCheckpoint": {}}},
        {"callbacks": {7: {"monitor": "step"}}},
    ],
)
def test_a_checkpoint_that_cannot_name_the_best_is_one_sentence(damage, tmp_path):
    write_checkpoint(tmp_path / "checkpoints/step=3.ckpt", 3, **damage)
    with pytest.raises(CheckpointError, match=r"step=3\.ckpt: its content is damaged") as told:
        asked_checkpoint(RunFolder(tmp_path), "best", MODEL)
    assert "\n" not in str(told.value)


def test_a_checkpoint_of_another_model_is_refused(watched, clips_manifest, tmp_path):
    """Also where the weights would fit, as with another number of heads."""
    with pytest.raises(
        UserError, match=r"another model \(encoder\.heads: 4 -> 2\); give --config .*config\.yaml"
    ):
        asked_checkpoint(watched, None, MODEL | {"encoder": {"heads": 2}})

    stage = pretrain(predictor=replace(NARROW, width=48))
    trainer = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET)
    newest = str(tmp_path / "old.ckpt")  # which does not tell its networks
    checkpoint = read_pickle(watched.newest_checkpoint())
    torch.save({key: value for key, value in checkpoint.items() if key != "networks"}, newest)
    sentence = "ckpt does not fit this pretrain: it is of another stage or"
    with pytest.raises(CheckpointError, match=sentence), misfit_as_sentence(newest, "pretrain"):
        trainer.validate(stage, validated(clips_manifest), ckpt_path=newest, weights_only=True)


def test_networks_of_other_settings_are_refused_wherever_the_file_lies(straight, clips_manifest, tmp_path):
    """Older checkpoints hold the settings of their networks alone. The weights fit all the same."""
    trainer = fit(pretrain(), clip_data(clips_manifest), tmp_path, steps=2)
    trainer.save_checkpoint(tmp_path / "copy.ckpt")
    other = pretrain(encoder=replace(TINY, heads=2))
    with pytest.raises(UserError, match=r"copy\.ckpt holds another encoder than .*encoder: {'heads': 4}"):
        fit(other, clip_data(clips_manifest), tmp_path, steps=4, ckpt_path=tmp_path / "copy.ckpt")
    looking = L.Trainer(accelerator="cpu", default_root_dir=tmp_path, **QUIET)
    with pytest.raises(UserError, match="holds another encoder"):
        looking.validate(
            other, validated(clips_manifest), ckpt_path=tmp_path / "copy.ckpt", weights_only=True
        )


def written(folder, settings: dict, **more) -> RunFolder:
    """A run with one checkpoint, which holds these settings of the model."""
    lightning = {"pytorch-lightning_version": "2"}
    write_checkpoint(folder / "checkpoints/step=3.ckpt", 3, **lightning, **{SETTINGS: settings}, **more)
    return RunFolder(folder)


def test_a_checkpoint_tells_its_model_wherever_it_lies(tmp_path):
    """Also what no weight shows, as the heads of a probe, and without the recipe of its run."""
    run = written(tmp_path / "run", {"probe": {"heads": 2}, "seed": 1})
    copy = tmp_path / "copy.ckpt"
    shutil.copy(run.newest_checkpoint(), copy)
    (tmp_path / "link.ckpt").symlink_to(copy)
    for file in (run.newest_checkpoint(), copy, tmp_path / "link.ckpt"):
        assert asked_checkpoint(run, str(file), {"probe": {"heads": 2}, "seed": 2}) == file
        with pytest.raises(UserError, match=r"another model \(probe\.heads: 2 -> 4\); give the recipe"):
            asked_checkpoint(run, str(file), {"probe": {"heads": 4}, "seed": 1})
    # To continue, the seed matters too.
    assert continued_checkpoint(run, {"probe": {"heads": 2}, "seed": 1})
    with pytest.raises(UserError, match=r"another model \(seed: 1 -> 2\)"):
        continued_checkpoint(run, {"probe": {"heads": 2}, "seed": 2})


def test_a_checkpoint_of_another_stage_is_named_so(tmp_path):
    run = written(tmp_path, {"encoder": "a.safetensors", "probe": {"heads": 2}, "seed": 1})
    for look in (asked_checkpoint, lambda folder, _, model: continued_checkpoint(folder, model)):
        with pytest.raises(UserError, match=r"of another stage \(its model has probe\); give a checkpoint"):
            look(run, None, {"encoder": {"heads": 4}, "masks": {}, "seed": 1})
    # A later version may have more settings.
    assert asked_checkpoint(
        run, None, {"encoder": "a.safetensors", "probe": {"heads": 2}, "new": 1, "seed": 1}
    )


def test_a_moved_encoder_is_the_same_where_its_digest_is_known(tmp_path):
    run = written(tmp_path / "old", {"encoder": "a.safetensors"})
    with pytest.raises(UserError, match=r"another model \(encoder: a\.safetensors -> b\.safetensors\)"):
        asked_checkpoint(run, None, {"encoder": "b.safetensors"})
    run = written(tmp_path / "new", {"encoder": "a.safetensors"}, encoder_digest="0c7a")
    assert asked_checkpoint(run, None, {"encoder": "b.safetensors"})


def test_a_frozen_stage_belongs_to_its_encoder(clips_manifest, tmp_path):
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        files.append(tmp_path / f"{seed}.safetensors")
        export(files[-1], {"ema": encoder_part(Encoder(TINY))}, {})
    shutil.copy(files[0], tmp_path / "copy.safetensors")
    rows = str(clips_manifest)

    def train(encoder, steps: int, ckpt_path=None) -> L.Trainer:
        stage = Probe(str(encoder), 2, ProbeConfig(depth=1, heads=4))
        data = LabelledClipData([Source(rows)], rows, rows, CLIP, batch_size=4, workers=0)
        return fit(stage, data, tmp_path, steps, ckpt_path=ckpt_path)

    file = tmp_path / "probe.ckpt"
    train(files[0], 1).save_checkpoint(file)
    assert train(tmp_path / "copy.safetensors", 2, file).global_step == 2
    with pytest.raises(UserError, match=r"tokens of another encoder than .*1\.safetensors; give --model"):
        train(files[1], 2, file)
    # Older checkpoints do not say it.
    old = tmp_path / "old.ckpt"
    torch.save({key: value for key, value in read_pickle(file).items() if key != DIGEST}, old)
    assert train(files[1], 2, old).global_step == 2


def test_a_run_does_not_end_with_more_steps_than_its_recipe_has():
    check_not_beyond(None, 6, 6)
    with pytest.raises(UserError, match=r"step=12\.ckpt is of step 12, .* ends after step 6; remove that"):
        check_not_beyond(Path("step=12.ckpt"), 12, 6)


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
    "decode": (Decode, TrajectoryData, ("--model.encoder", "e", "--model.ac", "a")),
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
        ("trainer.precision", "bf16-mixed", False),  # a machine; `machine` compares it
        ("trainer.devices", 7, False),
        ("trainer.gradient_clip_val", 1.0, True),
        ("trainer.limit_train_batches", 3, True),
        ("checkpoint.filename", "mine", False),
        ("checkpoint.every_n_train_steps", 7, False),
        ("data.max_bad_share", 0.5, False),
        ("data.batch_size", 7, False),  # a cut of the step, whose samples `machine` compares
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

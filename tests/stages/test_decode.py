"""Laws of the stage `decode`, on episodes recorded in the demo world."""

import json
import subprocess
import sys
from dataclasses import replace
from math import pi
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("mujoco")

from stages.decode import Decode
from tests.stage_runs import equal, fit
from vjepa.errors import DataError, UserError
from vjepa.evaluation.decoded_windows import HeldOutPictures
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.decoder import DecoderConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.robots.schema import StateSchema, vector_schema
from vjepa.robots.trajectory_data import RobotSource, TrajectoryData
from vjepa.robots.windows import TrajectoryConfig
from vjepa.sim.closed_loop.film import SIDE, decoded_images
from vjepa.sim.recording.robot_episodes import RobotConfig, record_robot
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.card import read_card
from vjepa.weights.export import ac_predictor_part, encoder_part, export, read_acting
from vjepa.weights.facts import ActingFacts
from vjepa.weights.files import CheckpointError, weights_digest
from vjepa.weights.info import card_or_error
from vjepa.weights.load import load_encoder
from vjepa.weights.load_decoder import load_decoder

TINY = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)
PREDICTOR = ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96, merge=2)
DECODER = DecoderConfig(width=32, depth=1, narrow=4)
OPTIM = OptimConfig(lr=Schedule(3e-3))
SCHEMA = StateSchema(centres=(pi, 0.0, 0.0))
WINDOW = TrajectoryConfig(frames=2, fps=4.0, size=32, evaluation_frames=5)
ACTING = ActingFacts(schema={"centres": [pi, 0.0, 0.0]}, fps=4.0)


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Path:
    shares = {"val": 0.25, "test": 0.25, "scripted": 0.0}
    out = tmp_path_factory.mktemp("robot")
    return record_robot(RobotConfig(out=out, episodes=8, steps=6, size=32, per_file=4, workers=1, **shares))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "model.safetensors"
    export(file, {"ema": encoder_part(Encoder(TINY))}, {})
    return file


@pytest.fixture(scope="module")
def ac(encoder, tmp_path_factory) -> Path:
    torch.manual_seed(1)
    return acting_file(tmp_path_factory.mktemp("ac") / "ac.safetensors", encoder)


def acting_file(file: Path, encoder: Path, **changes) -> Path:
    """An export of an AC predictor on an encoder."""
    digest = weights_digest(load_encoder(encoder))
    facts = replace(ACTING, **({"encoder_digest": digest} | changes))
    export(file, {"ac_predictor": ac_predictor_part(ACPredictor(PREDICTOR, TINY), TINY, facts)}, {})
    return file


def data(robot: Path, window: TrajectoryConfig = WINDOW, schema: StateSchema = SCHEMA) -> TrajectoryData:
    train, val, test = (RobotSource(str(robot / split)) for split in ("train", "val", "test"))
    return TrajectoryData([train], val, test, schema=schema, window=window, batch_size=4, workers=0)


def stage(encoder: Path, ac: Path | None = None, **changes) -> Decode:
    settings = {"ac": ac and str(ac), "decoder": DECODER, "optim": OPTIM}
    return Decode(str(encoder), **settings | changes)


def test_one_batch_is_overfitted(robot, encoder, tmp_path):
    model = stage(encoder)
    module = data(robot)
    module.trainer = fit(model, module, tmp_path, steps=1)
    tokens, frames = model.examples(next(iter(module.train_dataloader())), "train")
    assert frames.shape == (8, 3, 32, 32) and frames.min() >= 0 and frames.max() <= 1
    optimizer = torch.optim.AdamW(model.decoder.parameters(), 3e-3)
    before = (model.decoder(tokens) - frames).abs().mean().item()
    for _ in range(200):
        loss = (model.decoder(tokens) - frames).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * before


def test_nothing_learns_but_the_decoder(robot, encoder, ac, tmp_path):
    model = stage(encoder, ac)
    trainer = fit(model, data(robot), tmp_path, steps=3)
    trainer.save_checkpoint(tmp_path / "step=3.ckpt")
    optimised = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.decoder.parameters()}
    for frozen in (model.encoder, model.predictor):
        assert not frozen.training and all(
            p.grad is None and not p.requires_grad for p in frozen.parameters()
        )
    assert equal(model.encoder, load_encoder(encoder))
    saved = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["state_dict"]
    assert saved and all(key.startswith("decoder.") for key in saved)


def test_a_cut_run_resumes_exactly(robot, encoder, ac, tmp_path):
    straight, first, second = (stage(encoder, ac) for _ in range(3))
    fit(straight, data(robot), tmp_path, steps=6)
    fit(first, data(robot), tmp_path, steps=3).save_checkpoint(tmp_path / "step=3.ckpt")
    fit(second, data(robot), tmp_path, steps=6, ckpt_path=tmp_path / "step=3.ckpt")
    assert equal(straight.decoder, second.decoder) and not equal(straight.decoder, first.decoder)


def test_the_predictor_changes_no_weight_of_the_decoder(robot, encoder, ac, tmp_path):
    alone, beside = stage(encoder), stage(encoder, ac)
    fit(alone, data(robot), tmp_path, steps=2)
    fit(beside, data(robot), tmp_path, steps=2)
    assert equal(alone.decoder, beside.decoder)


def test_an_export_is_read_back_and_described(robot, encoder, tmp_path):
    model = stage(encoder)
    fit(model, data(robot), tmp_path, steps=1)
    file = tmp_path / "model.safetensors"
    export(file, model.parts(), {"stage": "decode"})
    assert all(key.startswith("decoder.") for key in load_file(file))
    loaded = load_decoder(file, load_encoder(encoder))
    assert loaded.config == DECODER and equal(loaded, model.decoder)
    assert read_acting(file, "decoder").encoder_source == str(encoder)
    assert "decoder (" in str(card_or_error(file)) and read_card(file).parts == ("decoder",)
    tokens = torch.randn(3, 16, 48)
    assert decoded_images(tokens, file, load_encoder(encoder)).shape == (3, SIDE, SIDE, 3)


def test_held_out_windows_are_scored_written_and_drawn(robot, encoder, ac, tmp_path):
    model = stage(encoder, ac)
    trainer = fit(model, data(robot), tmp_path, steps=2)
    assert {"val/loss", "val/psnr", "val/ssim"} <= trainer.callback_metrics.keys()
    trainer.test(model, datamodule=data(robot), verbose=False)
    report = json.loads((tmp_path / "decoding.json").read_text())
    assert report["windows"] == 2 and len(report["scores"]) == 5
    for regions in report["scores"].values():
        # The mask of the hand is the simulator's, and every episode has one.
        assert regions.keys() == {"picture", "moving", "hand"}
        assert all(len(values) == 4 for values in regions["hand"].values())
    for name in ("decoding.png", "decoding.gif"):
        assert (tmp_path / name).stat().st_size > 1_000


def test_without_a_predictor_nothing_is_imagined(robot, encoder, tmp_path):
    model = stage(encoder)
    trainer = fit(model, data(robot), tmp_path, steps=1)
    trainer.test(model, datamodule=data(robot), verbose=False)
    names = json.loads((tmp_path / "decoding.json").read_text())["scores"]
    assert names.keys() == {"decoded beside real", "persistence beside real", "persistence beside decoded"}


def test_a_test_without_windows_is_no_test(robot, encoder, tmp_path, monkeypatch):
    model = stage(encoder)
    trainer = fit(model, data(robot), tmp_path, steps=1)
    monkeypatch.setattr(HeldOutPictures, "add", lambda *given: None)
    with pytest.raises(DataError, match="no test window could be decoded"):
        trainer.test(model, datamodule=data(robot), verbose=False)


def test_what_cannot_work_is_refused_before_training(robot, encoder, ac, tmp_path):
    def refused(match: str, module: TrajectoryData, given: Path | None = ac, kind: type = UserError) -> None:
        with pytest.raises(kind, match=match):
            fit(stage(encoder, given), module, tmp_path, steps=1)

    without = data(robot, replace(WINDOW, pixels=False))
    refused(r"data\.window\.pixels=false, but a decoder learns images", without)
    refused(r"data\.window: .*does not divide", data(robot, replace(WINDOW, size=36)))
    refused(r"merge=2 does not divide a frame of 3x3", data(robot, replace(WINDOW, size=24)))
    refused(
        r"predicts 4 frames a second, but data\.window\.fps=2",
        data(robot, replace(WINDOW, fps=2.0, evaluation_frames=3)),
    )
    plane = data(robot, schema=vector_schema(tuple("abcdefg"), "m", 1.0))
    refused(r"ac\.safetensors: the predictor was trained under another schema", plane)
    other = acting_file(tmp_path / "other.safetensors", encoder, encoder_digest="0" * 12)
    refused(r"other\.safetensors was trained on the tokens of another encoder", data(robot), other)
    refused(r"holds ema but no part named ac_predictor", data(robot), encoder, CheckpointError)


def test_a_decoder_of_another_encoder_and_other_files_are_refused(robot, encoder, tmp_path):
    model = stage(encoder)
    fit(model, data(robot), tmp_path, steps=1)
    export(tmp_path / "decoder.safetensors", model.parts(), {})
    torch.manual_seed(5)
    with pytest.raises(CheckpointError, match=r"decoder\.safetensors was trained on the tokens of another"):
        load_decoder(tmp_path / "decoder.safetensors", Encoder(TINY))
    with pytest.raises(CheckpointError, match="holds ema but no part named decoder"):
        load_decoder(encoder)


RECIPE = """
model: {encoder: ENCODER, ac: AC, decoder: {width: 16, depth: 1, narrow: 4}}
data:
  train: [{folder: ROBOT/train}]
  val: {folder: ROBOT/val}
  test: {folder: ROBOT/test}
  schema: {centres: [3.141592653589793, 0, 0]}
  window: {frames: 2, fps: 4, size: 32, evaluation_frames: 5}
  batch_size: 4
  workers: 0
trainer: {max_steps: 4, accelerator: cpu, enable_progress_bar: false, log_every_n_steps: 2,
  val_check_interval: 2, check_val_every_n_epoch: null, num_sanity_val_steps: 0}
checkpoint: {every_n_train_steps: 2}
"""


@pytest.mark.slow
def test_the_command_trains_tests_and_exports(robot, encoder, ac, tmp_path):
    places = {"ENCODER": encoder, "AC": ac, "ROBOT": robot}
    recipe = RECIPE
    for name, place in places.items():
        recipe = recipe.replace(name, str(place))
    (tmp_path / "recipe.yaml").write_text(recipe)
    program = [sys.executable, "-m", "stages.decode", "fit", "--config", "recipe.yaml", "--out", "run"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "persistence beside decoded" in done.stdout and "score: PSNR of decoding" in done.stdout
    card = read_card(tmp_path / "run/model.safetensors")
    assert card.scores["PSNR of decoding, dB"] > 0 and "masked error, imagined, 4 on" in card.scores
    assert (tmp_path / "run/decoding.gif").exists()
    again = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "finished, nothing to do" in again.stdout

"""Laws of the action-conditioned stage and of the cloned policy, on episodes recorded in the demo world."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("mujoco")

from stages.ac import ActionConditioned
from stages.clone import Clone
from tests.stage_runs import equal, fit
from vjepa.errors import UserError
from vjepa.evaluation import rollout_error
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.cloned_policy import ClonedPolicy, ClonedPolicyConfig
from vjepa.models.encoder import Encoder, EncoderConfig, encode_frames
from vjepa.objectives.action_conditioned import ObjectiveConfig, action_conditioned_losses
from vjepa.planning.load import load_world_model
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.episodes import TrajectoryError
from vjepa.robots.schema import StateSchema, vector_schema
from vjepa.robots.trajectory_data import RobotSource, TrajectoryData
from vjepa.robots.windows import TrajectoryConfig
from vjepa.sim.recording.robot_episodes import RobotConfig, record_robot
from vjepa.training.optim import OptimConfig, Schedule
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export, read_acting, read_schema
from vjepa.weights.files import CheckpointError, weights_digest
from vjepa.weights.load import load_ac_predictor, load_encoder, load_policy
from vjepa.weights.settings import settings
from vjepa.weights.untrained import untrained

TINY = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8)
PREDICTOR = ACPredictorConfig(width=48, depth=2, heads=4, mlp_width=96, merge=2, residual=True, init_std=0.1)
OPTIM = OptimConfig(lr=Schedule(1e-3))
SCHEMA = StateSchema(centres=(math.pi, 0.0, 0.0))
WINDOW = TrajectoryConfig(frames=3, fps=4.0, size=32, evaluation_frames=5)


@pytest.fixture(scope="module")
def robot(tmp_path_factory) -> Path:
    config = RobotConfig(
        out=tmp_path_factory.mktemp("robot"),
        episodes=8,
        steps=6,
        size=32,
        per_file=4,
        val=0.25,
        test=0.25,
        scripted=0.0,
        workers=1,
    )
    return record_robot(config)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("encoder") / "model.safetensors"
    export(file, {"ema": encoder_part(Encoder(TINY))}, {})
    return file


def data(
    robot: Path, window: TrajectoryConfig = WINDOW, schema: StateSchema = SCHEMA, batch_size: int = 4
) -> TrajectoryData:
    train, val, test = (RobotSource(str(robot / split)) for split in ("train", "val", "test"))
    return TrajectoryData([train], val, test, schema=schema, window=window, batch_size=batch_size, workers=0)


def stage(encoder: Path, **changes) -> ActionConditioned:
    settings = {"predictor": PREDICTOR, "optim": OPTIM, "standardise": True}
    return ActionConditioned(str(encoder), **settings | changes)


def test_one_batch_is_overfitted_and_actions_are_what_it_takes():
    """Two futures of one frame, told apart by the action alone."""
    torch.manual_seed(0)
    predictor = ACPredictor(replace(PREDICTOR, width=64), TINY)
    frame = torch.nn.functional.layer_norm(torch.randn(1, 16, 48), (48,))
    futures = torch.nn.functional.layer_norm(frame + torch.randn(2, 16, 48), (48,))
    tokens = torch.cat([frame.expand(2, -1, -1), futures], dim=1)
    states = torch.zeros(2, 2, 7)
    actions = torch.zeros(2, 1, 7)
    actions[:, 0, 0] = torch.tensor([0.05, -0.05])
    predictor.standardise(actions[:, 0], states[:, 0])
    optimizer = torch.optim.AdamW(predictor.parameters(), 3e-3)
    objective = ObjectiveConfig(rollout_steps=1)
    for _ in range(400):
        loss = action_conditioned_losses(predictor, tokens, actions, states, objective).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = rollout_error.rollout_errors(predictor, tokens, actions, states, SCHEMA)
    assert errors["model"].mean() < 0.1 < 0.5 < errors["shuffled"].mean()
    assert errors["model"].mean() < 0.2 * errors["persistence"].mean()


def test_standardised_maps_start_as_if_inputs_were():
    plain, scaled = (ACPredictor(PREDICTOR, TINY) for _ in range(2))
    scaled.load_state_dict(plain.state_dict())
    actions = 0.05 * torch.randn(100, 7) + 0.01
    states = torch.randn(100, 7) + 3.0
    scaled.standardise(actions, states)
    unit = (actions - actions.mean(dim=0)) / actions.std(dim=0)
    torch.testing.assert_close(scaled.embed_action(actions), plain.embed_action(unit), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("merge", [1, 2, 4])
def test_a_rollout_is_exact_whatever_is_merged(merge):
    torch.manual_seed(0)
    predictor = ACPredictor(replace(PREDICTOR, merge=merge, residual=merge == 2), TINY).eval()
    torch.nn.init.normal_(predictor.out.weight, std=0.1)
    frame = torch.randn(2, 16, 48)
    actions = torch.randn(2, 3, 7)
    states = torch.randn(2, 3, 7)
    rolled = predictor.rollout(frame, actions, states)
    film = frame
    for k in range(3):
        film = torch.cat([film, predictor(film, actions[:, : k + 1], states[:, : k + 1])[:, -16:]], dim=1)
    torch.testing.assert_close(rolled, film[:, 16:], atol=1e-5, rtol=1e-4)


def test_a_residual_predictor_begins_at_persistence():
    frame = torch.nn.functional.layer_norm(torch.randn(2, 16, 48), (48,))
    guess = ACPredictor(PREDICTOR, TINY)(frame, torch.randn(2, 1, 7), torch.randn(2, 1, 7))
    torch.testing.assert_close(guess, frame, atol=1e-4, rtol=1e-4)


def test_controls_know_less():
    """Shuffled actions are another window's; states follow the actions of their row, so they tell nothing."""
    actions = 0.05 * torch.randn(3, 4, 7)
    states = torch.cat([torch.zeros(3, 1, 7), actions.cumsum(dim=1)], dim=1)
    plain = replace(vector_schema(tuple("abcdefg"), "m", 1.0))
    torch.testing.assert_close(rollout_error.reached_states(actions, states, plain), states[:, :-1])
    torch.testing.assert_close(
        rollout_error.reached_states(actions.roll(1, 0), states, plain), states.roll(1, 0)[:, :-1]
    )
    assert torch.equal(
        rollout_error.reached_states(actions, states, replace(plain, delta="recorded")), states[:, :-1]
    )


def test_shuffled_actions_are_another_episodes_and_a_window_alone_has_none():
    """Windows of an episode stand side by side in a batch."""
    torch.manual_seed(0)
    predictor = ACPredictor(replace(PREDICTOR, residual=False), TINY)
    tokens = torch.randn(8, 3 * 16, 48)
    actions = torch.randn(8, 2, 7)
    states = torch.randn(8, 3, 7)
    errors = rollout_error.rollout_errors(predictor, tokens, actions, states, SCHEMA)
    swapped = rollout_error.rollout_errors(predictor, tokens, actions.roll(4, 0), states, SCHEMA)
    assert torch.equal(errors["shuffled"], swapped["model"]) and not torch.equal(
        errors["shuffled"], errors["model"]
    )
    alone = rollout_error.rollout_errors(predictor, tokens[:1], actions[:1], states[:1], SCHEMA)
    assert len(alone["shuffled"]) == 0 and len(alone["model"]) == 1


def test_cached_tokens_are_those_of_the_frames(robot, encoder, tmp_path):
    module = data(robot)
    kept = data(robot, replace(WINDOW, pixels=False))
    on_the_fly = stage(encoder)
    cached = stage(encoder, latents=LatentsConfig(str(tmp_path / "latents"), batch=1))
    fit(on_the_fly, module, tmp_path, steps=1)
    fit(cached, kept, tmp_path, steps=1)
    for split, loader in (("train", "train_dataloader"), ("val", "val_dataloader")):
        frames = next(iter(getattr(module, loader)()))
        looked_up = next(iter(getattr(kept, loader)()))
        assert torch.equal(frames.rows, looked_up.rows)
        tokens = on_the_fly.tokens(frames, split)
        torch.testing.assert_close(cached.tokens(looked_up, split), tokens, atol=1e-4, rtol=1e-3)
    assert sum(1 for _ in (tmp_path / "latents").rglob("*.safetensors")) > 0
    for key, value in on_the_fly.predictor.state_dict().items():
        torch.testing.assert_close(cached.predictor.state_dict()[key], value, atol=1e-3, rtol=1e-2)


def test_the_encoder_stays_as_it_was_and_out_of_everything(robot, encoder, tmp_path):
    model = stage(encoder)
    trainer = fit(model, data(robot), tmp_path, steps=3)
    trainer.save_checkpoint(tmp_path / "step=3.ckpt")
    assert equal(model.encoder, load_encoder(encoder)) and not model.encoder.training
    optimised = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.predictor.parameters()}
    saved = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["state_dict"]
    assert saved and all(key.startswith("predictor.") for key in saved)
    export(tmp_path / "model.safetensors", model.parts(), {})
    assert all(key.startswith("ac_predictor.") for key in load_file(tmp_path / "model.safetensors"))
    assert equal(load_ac_predictor(tmp_path / "model.safetensors"), model.predictor)
    acting = read_card(tmp_path / "model.safetensors").acting
    assert settings(StateSchema, acting.schema) == SCHEMA
    assert (acting.size, acting.fps, acting.scales) == (WINDOW.size, WINDOW.fps, (1,))
    assert acting.encoder_source == str(encoder)
    assert acting.encoder_digest == weights_digest(load_encoder(encoder))
    world = load_world_model(
        str(encoder), str(tmp_path / "model.safetensors")
    )  # chained: encoder and predictor, by their files
    assert world.encode(torch.randn(1, 3, 32, 32)).shape == (1, 16, 48) and world.schema == SCHEMA


def test_a_cut_run_resumes_exactly(robot, encoder, tmp_path):
    latents = LatentsConfig(str(tmp_path / "latents"))

    def module() -> TrajectoryData:
        return data(robot, replace(WINDOW, pixels=False))

    straight, first, second = (stage(encoder, latents=latents) for _ in range(3))
    fit(straight, module(), tmp_path, steps=6)
    fit(first, module(), tmp_path, steps=3).save_checkpoint(tmp_path / "step=3.ckpt")
    fit(second, module(), tmp_path, steps=6, ckpt_path=tmp_path / "step=3.ckpt")
    assert equal(straight.predictor, second.predictor) and not equal(straight.predictor, first.predictor)


def test_what_cannot_work_is_refused_before_training(robot, encoder, tmp_path):
    def refused(match: str, module: TrajectoryData | None = None, kind: type = UserError, **changes) -> None:
        with pytest.raises(kind, match=match):
            fit(stage(encoder, **changes), module or data(robot), tmp_path, steps=1)

    refused(
        r"predictor\.state_dim=8, but data\.schema has states of 7", predictor=replace(PREDICTOR, state_dim=8)
    )
    refused(
        r"predictor\.action_dim=3, but data\.schema has actions of 7",
        predictor=replace(PREDICTOR, action_dim=3),
    )
    refused(r"rollout_steps=3, but a window has 2 actions", objective=ObjectiveConfig(rollout_steps=3))
    refused(r"merge=3 does not divide a frame of 4x4", predictor=replace(PREDICTOR, merge=3))
    refused(r"data\.window: .*does not divide", data(robot, replace(WINDOW, size=36)))
    refused(r"pixels=false keeps one crop", data(robot, replace(WINDOW, pixels=False, scale=(0.5, 1.0))))
    refused(r"data\.batch_size=1, but shuffled", data(robot, batch_size=1))
    refused(r"extrinsics_dim=6, but the data have 0 numbers", predictor=replace(PREDICTOR, extrinsics_dim=6))
    plane = data(robot, schema=vector_schema(("x", "y"), "m", 1.0))
    refused(r"holds 7 numbers, but the schema's state has 2", plane, kind=TrajectoryError)


def test_an_encoder_of_no_numbers_is_refused(robot, tmp_path):
    broken = Encoder(TINY)
    torch.nn.init.constant_(broken.norm.bias, torch.nan)
    export(tmp_path / "broken.safetensors", {"ema": encoder_part(broken)}, {})
    with pytest.raises(CheckpointError, match=r"NaN or infinite, first in norm\.bias"):
        fit(stage(tmp_path / "broken.safetensors"), data(robot), tmp_path, steps=1)


def test_another_encoders_tokens_are_refused(robot, encoder, tmp_path):
    model = stage(encoder)
    fit(model, data(robot), tmp_path, steps=1)
    export(tmp_path / "ac.safetensors", model.parts(), {})
    export(tmp_path / "wide.safetensors", {"ema": encoder_part(Encoder(replace(TINY, width=64)))}, {})
    with pytest.raises(
        UserError, match=r"wide\.safetensors .*trained on tokens of width 48, but the encoder makes 64"
    ):
        load_world_model(str(tmp_path / "wide.safetensors"), str(tmp_path / "ac.safetensors"))


def test_held_out_errors_are_written_down_and_drawn(robot, encoder, tmp_path):
    model = stage(encoder)
    trainer = fit(model, data(robot), tmp_path, steps=2)
    trainer.test(model, datamodule=data(robot), verbose=False)
    report = json.loads((tmp_path / "horizons.json").read_text())
    assert report["windows"] == 2 and all(len(report["errors"][row]) == 4 for row in rollout_error.ROWS)
    assert (tmp_path / "horizons.png").stat().st_size > 10_000


def test_the_test_says_whether_actions_are_used_and_the_export_keeps_it(robot, encoder, tmp_path, capsys):
    """An untrained residual predictor ignores them."""
    model = stage(encoder, optim=OptimConfig(lr=Schedule(0.0)))
    trainer = fit(model, data(robot), tmp_path, steps=1)
    capsys.readouterr()
    trainer.test(model, datamodule=data(robot), verbose=False)
    told = capsys.readouterr().out
    assert "actions are not used: shuffled actions make the error 1.000 times as large 1 action ahead" in told
    assert "warning: a planner cannot tell actions apart" in told
    use = json.loads((tmp_path / "horizons.json").read_text())["action_use"]
    assert list(use) == ["all", *SCHEMA.names] and all(len(curve) == 4 for curve in use.values())
    assert float(trainer.callback_metrics["test/action_use"]) == 1.0
    export(tmp_path / "model.safetensors", model.parts(), {})
    kept = read_acting(tmp_path / "model.safetensors").action_use
    assert kept == {name: curve[0] for name, curve in use.items()} and kept["all"] == 1.0


def test_without_a_test_the_last_validation_says_whether_actions_are_used(robot, encoder, tmp_path, capsys):
    model = stage(encoder)
    module = data(robot)
    module.test = None
    fit(model, module, tmp_path, steps=2, num_sanity_val_steps=1)
    assert "actions are " in capsys.readouterr().out
    kept = model.parts()["ac_predictor"].description["action_use"]
    assert kept == {name: curve[0] for name, curve in model.held_out.use.items()} and kept["all"] > 0


def test_the_sanity_check_of_an_untrained_predictor_is_not_exported(robot, encoder, tmp_path):
    model = stage(encoder)
    fit(
        model,
        data(robot),
        tmp_path,
        steps=1,
        num_sanity_val_steps=1,
        limit_val_batches=1,
        val_check_interval=1.0,
        check_val_every_n_epoch=100,
    )
    assert model.parts()["ac_predictor"].description["action_use"] is None


def test_a_policy_is_cloned_from_what_was_done(robot, encoder, tmp_path):
    """Overfitted on a batch: it does what was recorded. Its export is read back with its schema."""
    config = ClonedPolicyConfig(tokens=16, token_width=48, narrow=8, width=64)
    model = Clone(str(encoder), config, optim=OptimConfig(lr=Schedule(3e-3)))
    module = data(robot)
    trainer = fit(model, module, tmp_path, steps=1)
    module.trainer = trainer
    batch = next(iter(module.train_dataloader()))
    optimizer = torch.optim.AdamW(model.policy.parameters(), 3e-3)
    before = model.error(batch, "train").item()
    for _ in range(200):
        loss = model.error(batch, "train")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.2 * before
    export(tmp_path / "model.safetensors", model.parts(), {})
    assert equal(load_policy(tmp_path / "model.safetensors"), model.policy)
    assert settings(StateSchema, read_schema(tmp_path / "model.safetensors", "policy")) == SCHEMA
    with pytest.raises(UserError, match=r"policy\.tokens=64, but data\.schema has frames of 16"):
        fit(Clone(str(encoder), replace(config, tokens=64)), data(robot), tmp_path, steps=1)


def test_an_untrained_encoder_has_the_architecture_and_other_weights(encoder, tmp_path):
    untrained(encoder=encoder, out=tmp_path / "model.safetensors", seed=3)
    other = load_encoder(tmp_path / "model.safetensors")
    assert other.config == TINY and not equal(other, load_encoder(encoder))
    assert encode_frames(other, torch.randn(1, 3, 2, 32, 32)).shape == (1, 32, 48)


def test_a_policy_tells_places_apart():
    torch.manual_seed(0)
    policy = ClonedPolicy(ClonedPolicyConfig(tokens=4, token_width=6, narrow=3, width=8))
    now = torch.randn(1, 4, 6)
    goal = torch.randn(1, 4, 6)
    state = torch.zeros(1, 7)
    assert not torch.allclose(policy(now, goal, state), policy(now.flip(1), goal.flip(1), state))


RECIPE = """
model:
  encoder: ENCODER
  predictor: {width: 48, depth: 2, heads: 4, mlp_width: 96, merge: 2, residual: true}
  standardise: true
  latents: {folder: latents}
data:
  train: [{folder: ROBOT/train}]
  val: {folder: ROBOT/val}
  test: {folder: ROBOT/test}
  schema: {centres: [3.141592653589793, 0, 0]}
  window: {frames: 3, fps: 4, size: 32, evaluation_frames: 5, pixels: false}
  batch_size: 4
  workers: 0
trainer: {max_steps: 4, accelerator: cpu, enable_progress_bar: false, log_every_n_steps: 2,
  val_check_interval: 2, check_val_every_n_epoch: null, num_sanity_val_steps: 0}
checkpoint: {every_n_train_steps: 2}
"""


@pytest.mark.slow
def test_the_command_trains_tests_and_exports(robot, encoder, tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.replace("ENCODER", str(encoder)).replace("ROBOT", str(robot))
    )
    program = [sys.executable, "-m", "stages.ac", "fit", "--config", "recipe.yaml", "--out", "run"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (
        "persistence" in done.stdout
        and load_ac_predictor(tmp_path / "run/model.safetensors").config.width == 48
    )
    assert (tmp_path / "run/horizons.png").exists()
    again = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "finished, nothing to do" in again.stdout

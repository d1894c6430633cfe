"""`vjepa plan` and `python -m stages.plan` say before they play if the weights do not use actions."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

pytest.importorskip("mujoco")

from stages.plan import ProtocolConfig, plan
from vjepa.errors import announce
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.robots.schema import END_EFFECTOR
from vjepa.sim.closed_loop import show
from vjepa.sim.closed_loop.setting import PlannerConfig, PolicyWeights, Setting
from vjepa.sim.closed_loop.tasks import TaskName
from vjepa.weights.action_use import ActionUse
from vjepa.weights.export import ac_predictor_part, encoder_part, export
from vjepa.weights.facts import ActingFacts

PLANNER = PlannerConfig(samples=4, iterations=1, top=2)
USED = {"all": 1.5, "x": 1.2, "roll": None, "gripper": 1.1}
UNUSED = {"all": 1.001, "x": 1.001, "roll": None, "gripper": 1.0}
STIFF = USED | {"gripper": 1.001}
"""All but the gripper is used."""
APART = "cannot tell actions apart with these weights, since shuffling them makes the error only 1.001 times"
GRIPPER = "cannot tell with these weights what the gripper does"


def weights(folder: Path, use: ActionUse | None) -> tuple[str, str]:
    """Files of an encoder and of a predictor on it, whose use of actions is this."""
    announce.cache_clear()
    torch.manual_seed(0)
    encoder = Encoder(EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=8))
    ac = ACPredictor(ACPredictorConfig(width=48, depth=1, heads=4, mlp_width=96, merge=2), encoder.config)
    acting = ActingFacts(asdict(END_EFFECTOR), 32, 4.0, (1,), action_use=use)
    export(folder / "encoder.safetensors", {"ema": encoder_part(encoder)}, {})
    export(folder / "ac.safetensors", {"ac_predictor": ac_predictor_part(ac, encoder.config, acting)}, {})
    return str(folder / "encoder.safetensors"), str(folder / "ac.safetensors")


@pytest.mark.parametrize(
    ("use", "task", "note"),
    [
        (UNUSED, "reach", APART),
        (STIFF, "grasp", GRIPPER),
        (STIFF, "reach", None),
        (USED, "grasp", None),
        (None, "grasp", None),
    ],
)
def test_the_command_says_it_before_it_plays(
    tmp_path, capsys, monkeypatch, use: ActionUse | None, task: TaskName, note: str | None
):
    encoder, ac = weights(tmp_path, use)
    played = []
    monkeypatch.setattr(
        show.EpisodeRunner, "play", lambda runner, job: played.append(capsys.readouterr().err)
    )
    with pytest.raises(AttributeError):  # nothing was played
        show.plan(encoder=encoder, ac=ac, task=task, out=tmp_path, planner=PLANNER)
    assert_one_note(played[0], ac, note)


@pytest.mark.parametrize(
    ("use", "tasks", "note"),
    [(UNUSED, ("reach",), APART), (STIFF, ("reach", "grasp"), GRIPPER), (STIFF, ("reach",), None)],
)
def test_the_stage_says_it_before_it_plays(
    tmp_path, capsys, use: ActionUse, tasks: tuple[TaskName, ...], note: str | None
):
    encoder, ac = weights(tmp_path, use)
    setting = Setting(PolicyWeights(encoder, ac), PLANNER)
    protocol = ProtocolConfig(tasks, 1, ("model", "random"))
    with pytest.raises(ValueError, match="no such file"):  # of the episodes for landscapes, before all else
        plan(setting, tmp_path / "plan", tmp_path / "nothing", protocol, workers=1)
    assert_one_note(capsys.readouterr().err, ac, note)


def test_nothing_is_said_where_no_planner_plays(tmp_path, capsys):
    encoder, ac = weights(tmp_path, UNUSED)
    protocol = ProtocolConfig(("reach",), 1, ("still",))
    plan(Setting(PolicyWeights(encoder, ac), PLANNER), tmp_path / "plan", protocol=protocol, workers=1)
    assert "planner" not in capsys.readouterr().err


def assert_one_note(told: str, ac: str, note: str | None) -> None:
    notes = [line for line in told.splitlines() if line.startswith(f"note: {ac}: a planner ")]
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]

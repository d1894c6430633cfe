"""Laws of the use of actions: ratios of errors, of predictors whose use of actions is known."""

import json
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor

from vjepa.evaluation.action_use import action_use_errors, use_report, use_table
from vjepa.evaluation.rollout_error import ROWS, rollout_errors
from vjepa.evaluation.rollout_means import HeldOutErrors, RolloutMeans
from vjepa.evaluation.rollout_report import write_report
from vjepa.models.ac_predictor import ACPredictor
from vjepa.robots.schema import END_EFFECTOR, StateSchema, vector_schema
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.weights.action_use import ALL, GRIPPER_USED, USED

HORIZONS = 3
JOINTS = vector_schema(("shoulder", "elbow"), "rad", bound=1.0)


class Processes(SingleDeviceStrategy):
    """The strategy of one process among several, whose totals are known."""

    def __init__(self, *others: Tensor) -> None:
        super().__init__("cpu")
        self.others = others
        self.own = torch.empty(0)

    def reduce(self, tensor: Tensor, *args, **kwargs) -> Tensor:
        self.own = tensor
        return torch.stack([tensor, *self.others]).sum(0)


class Uses(ACPredictor):
    """Predicts a token that moves by the sum of some dimensions of the actions, and reads nothing else."""

    def __init__(self, *dims: int) -> None:
        torch.nn.Module.__init__(self)
        self.dims = dims

    def rollout(self, frame_tokens, actions, states, extrinsics=None, cache=()) -> Tensor:
        moved = actions[..., self.dims].sum(-1).cumsum(1)
        return (frame_tokens[:, None] + moved[..., None, None]).flatten(1, 2)


class Windows(NamedTuple):
    tokens: Tensor
    batch: TrajectoryBatch


def windows(actions: Tensor, seed: int = 0) -> Windows:
    """Windows in which every dimension of an action moves the one token of a frame, and noise does too."""
    states = torch.cat([torch.zeros_like(actions[:, :1]), actions.cumsum(1)], 1)
    noise = 0.1 * torch.randn(states.shape[:2], generator=torch.Generator().manual_seed(seed))
    nothing = dict.fromkeys(TrajectoryBatch._fields)
    batch = TrajectoryBatch(**nothing | {"actions": actions, "states": states})
    return Windows(states.sum(-1).add(noise)[..., None], batch)


def drawn(count: int, dims: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, HORIZONS, dims, generator=torch.Generator().manual_seed(seed))


def measured(predictor: Uses, schema: StateSchema, *batches: Tensor) -> HeldOutErrors:
    """The errors of windows with these actions."""
    means = RolloutMeans(HORIZONS, schema)
    for actions in batches:
        means.add(predictor, *windows(actions))
    return means.compute(Processes())


def test_a_predictor_that_ignores_actions_has_ratios_of_exactly_1_and_a_warning():
    errors = measured(Uses(), JOINTS, drawn(8, 2), drawn(1, 2, seed=1))
    assert errors.use == dict.fromkeys((ALL, "shoulder", "elbow"), [1.0] * HORIZONS)
    line, warning = use_report(errors.use, errors.grippers).splitlines()
    assert line == (
        "actions are not used: shuffled actions make the error 1.000 times as large 1 action ahead, "
        "1.000 times 3 ahead; by dimension: shoulder 1.000, elbow 1.000"
    )
    assert warning.startswith("warning: a planner cannot tell actions apart") and "train longer" in warning
    assert errors.metrics()["action_use"] == 1.0


def test_a_predictor_that_uses_one_dimension_has_1_in_every_other():
    schema = replace(END_EFFECTOR, delta="difference", bounds=((-1.0, 1.0),) * 7)
    errors = measured(Uses(0), schema, drawn(16, 7))
    assert min(errors.use["x"]) > USED and min(errors.use[ALL]) > USED
    others = [name for name in schema.names if name != "x"]
    assert all(errors.use[name] == [1.0] * HORIZONS for name in others)
    line, warning = use_report(errors.use, errors.grippers).splitlines()
    assert line.startswith("actions are used: ") and "yaw 1.000, gripper 1.000" in line
    assert "what the gripper does, since shuffling gripper alone" in warning
    assert "\n" not in use_report(errors.use, grippers=())


def test_rotations_are_shuffled_one_angle_at_a_time():
    """Under `pose`, where angles turn the state; of them only the used one changes an error."""
    use = measured(Uses(5), END_EFFECTOR, 0.1 * drawn(8, 7)).use
    assert use["yaw"][0] != 1.0
    assert use["roll"] == use["pitch"] == use["x"] == [1.0] * HORIZONS


def test_what_never_varies_is_not_judged():
    """Neither are differences that a sensor makes at rest."""
    actions = drawn(8)
    actions[..., 1] = 0.3 + 1e-3 * torch.rand(8, HORIZONS)
    errors = measured(Uses(0, 1), JOINTS, actions)
    assert errors.use["elbow"] == [None] * HORIZONS and errors.use["shoulder"][0] > USED
    assert "elbow does not vary" in use_report(errors.use, ())
    assert use_table(errors.use).splitlines()[-1] == "| elbow | - | - | - |"

    still = measured(Uses(0, 1), JOINTS, torch.full((8, HORIZONS, 2), 0.3))
    assert still.exported() is None and "action_use" not in still.metrics()
    assert use_report(still.use, ()).startswith("whether actions are used is not known")


def test_windows_at_rest_say_nothing():
    """A gripper that moves in few windows is judged by these."""
    moving = drawn(8)
    resting = drawn(24, seed=1)
    resting[..., 1] = 0.0
    among = measured(Uses(0, 1), JOINTS, moving, resting).use
    assert among["elbow"] == pytest.approx(measured(Uses(0, 1), JOINTS, moving).use["elbow"])


def test_a_dimension_counts_from_the_action_on_in_which_it_moves():
    actions = drawn(8)
    actions[:, 0, 1] = 0.0
    use = measured(Uses(0, 1), JOINTS, actions).use["elbow"]
    assert use[0] is None and None not in use[1:]


def test_two_batches_have_the_mean_of_all_windows():
    """Of different sizes, and with different shares of windows in which a dimension moves."""
    second = drawn(3, seed=1)
    second[:2, :, 1] = 0.0
    batches = [drawn(6), second]
    rows = [rows_of_use(windows(actions)) for actions in batches]
    whole = {row: torch.cat([one[row] for one in rows]).sum(0) for row in rows[0]}
    use = measured(Uses(0), JOINTS, *batches).use
    for label in (ALL, "shoulder", "elbow"):
        expected = whole[f"shuffled {label}"] / whole[f"true {label}"]
        assert use[label] == pytest.approx(expected.tolist(), rel=1e-5)


def rows_of_use(given: Windows) -> dict[str, Tensor]:
    arguments = (Uses(0), given.tokens, given.batch.actions, given.batch.states, JOINTS)
    return action_use_errors(rollout_errors(*arguments), *arguments)


def test_processes_add_up_and_one_of_them_may_see_no_window():
    """Three processes, one of them without a window, have what one has that sees all."""
    totals = []
    for batches in ([drawn(6)], [drawn(4, seed=1)]):
        share = RolloutMeans(HORIZONS, JOINTS)
        for actions in batches:
            share.add(Uses(0), *windows(actions))
        process = Processes()
        share.compute(process)
        totals.append(process.own)
    together = RolloutMeans(HORIZONS, JOINTS).compute(Processes(*totals))
    alone = measured(Uses(0), JOINTS, drawn(6), drawn(4, seed=1))
    assert together.windows == alone.windows == 10
    for label in (ALL, "shoulder", "elbow"):
        assert together.use[label] == pytest.approx(alone.use[label])
    assert together.curves["model"] == pytest.approx(alone.curves["model"])


def test_labels_are_the_schemas_names_and_grippers_go_by_name():
    assert END_EFFECTOR.action_labels == END_EFFECTOR.names and END_EFFECTOR.gripper_labels == ("gripper",)
    recorded = replace(
        END_EFFECTOR, delta="recorded", actions=("gripper", "wheel"), bounds=((-1.0, 1.0),) * 2
    )
    assert recorded.action_labels == ("gripper", "wheel") and recorded.gripper_labels == ("gripper",)
    twins = vector_schema(("hip", "hip", "knee"), "rad", bound=1.0)
    assert twins.action_labels == ("hip (0)", "hip (1)", "knee") and twins.gripper_labels == ()


def test_the_report_holds_all_ratios_beside_what_it_held_before(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    errors = measured(Uses(0, 1), JOINTS, drawn(8, 2))
    write_report(errors, tmp_path)
    report = json.loads((tmp_path / "horizons.json").read_text())
    assert report["windows"] == 8 and set(report["errors"]) == set(ROWS)
    assert report["action_use"] == errors.use
    assert capsys.readouterr().out.splitlines()[-1].startswith("actions are used: ")


def test_a_gripper_needs_less_than_whole_actions():
    use = {ALL: [1.5], "gripper": [(USED + GRIPPER_USED) / 2]}
    assert "warning" not in use_report(use, ("gripper",))

"""A note before episodes are played, if the weights of a planner say that they do not use actions."""

from collections.abc import Sequence

from vjepa.errors import announce, damage_as_error
from vjepa.planning.load import schema_of
from vjepa.sim.closed_loop.setting import GRIPPER, PolicyName, Setting
from vjepa.sim.closed_loop.tasks import TaskName
from vjepa.weights.action_use import unused_sentence
from vjepa.weights.export import read_acting
from vjepa.weights.files import CheckpointError


def announce_unused_actions(
    setting: Setting, policies: Sequence[PolicyName], tasks: Sequence[TaskName]
) -> None:
    """One sentence for each planner that cannot tell actions apart, or what the gripper does in these tasks.

    Nothing is said of weights that do not tell it. Raises CheckpointError if they cannot be read.
    """
    weights = setting.weights
    sources = {
        "model": (weights.ac, weights.state),
        "untrained": (weights.untrained_ac, weights.untrained_state),
    }
    grasps = any(GRIPPER in setting.planner.cem(task).searched for task in tasks)
    for policy, (ac, reader) in sources.items():
        # A reader of the arm's state tells the planner what the gripper does.
        if policy in policies and (sentence := sentence_of(ac, grasps and not reader)):
            announce(f"{ac}: {sentence}")


def sentence_of(ac: str, grasps: bool) -> str | None:
    """What a planner cannot do with the weights of this source. grasps: Whether it is to move a gripper."""
    with damage_as_error(ac, CheckpointError):
        acting = read_acting(ac)
        grippers = schema_of(acting).gripper_labels if grasps else ()
    return unused_sentence(acting.action_use, grippers)

"""What stages on robot trajectories share: checks before they train, and what their exports say.

The checks ask whether the network fits the encoder and the data.
"""

from dataclasses import asdict, replace

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError, require
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.cloned_policy import ClonedPolicyConfig
from vjepa.models.encoder import EncoderConfig
from vjepa.objectives.action_conditioned import ObjectiveConfig
from vjepa.robots.schema import StateSchema
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.training.frozen_stage import FrozenStage
from vjepa.weights.action_use import ActionUse
from vjepa.weights.facts import ActingFacts

EXAMPLES = 256
"""Windows over which the sizes of actions and states are measured."""


def check_equal(setting: str, given: int, what: str, expected: int) -> None:
    """Raise UserError unless the setting `given` equals the number `expected` from the data.

    setting: its name in the recipe. what: what the data's numbers are of, such as actions.
    """
    require(
        given == expected,
        f"{setting}={given}, but data.schema has {what} of {expected} numbers; give {expected}",
    )


def check_ac_predictor(
    predictor: ACPredictor, objective: ObjectiveConfig, data: TrajectoryData, grid: tuple[int, int]
) -> None:
    """Raise UserError for settings of the stage `ac` that only the first step would refuse.

    grid: rows and columns of a frame's tokens.
    """
    config = predictor.config
    check_equal("model.predictor.state_dim", config.state_dim, "states", data.schema.state_dims)
    check_equal("model.predictor.action_dim", config.action_dim, "actions", data.schema.action_dims)

    actions = data.window.frames - 1  # one between any two neighbouring frames
    require(
        objective.rollout_steps <= actions,
        f"model.objective.rollout_steps={objective.rollout_steps}, but a window has {actions} actions; "
        "raise data.window.frames",
    )
    # Held-out windows are scored with shuffled actions too, which are those of another window of the batch.
    require(
        not data.held_out or data.batch_size >= 2,
        "data.batch_size=1, but shuffled actions are those of another window of the batch; give 2 or more",
    )
    # The predictor's own error cannot name the setting that decides the size of the frames.
    try:
        predictor.check_frames(grid[0] * grid[1], 1)
    except UserError as error:
        raise UserError(f"data.window.size={data.window.size}: {error}") from error


def camera_poses(batch: TrajectoryBatch, config: ACPredictorConfig) -> Float[Tensor, "b t e"] | None:
    """The camera's pose, for a predictor that takes it."""
    expected = config.extrinsics_dim  # 0: the predictor does not take it
    given = batch.extrinsics.shape[-1]
    require(
        expected in (0, given),
        f"model.predictor.extrinsics_dim={expected}, but the data have {given} numbers; "
        "name their column in columns.extrinsics",
    )
    return batch.extrinsics if expected else None


def check_policy(
    config: ClonedPolicyConfig, encoder: EncoderConfig, schema: StateSchema, grid: tuple[int, int]
) -> None:
    """Raise UserError unless a cloned policy takes a frame's tokens and the data's states and actions."""
    check_equal("model.policy.tokens", config.tokens, "frames", grid[0] * grid[1])
    check_equal("model.policy.token_width", config.token_width, "tokens", encoder.width)
    check_equal("model.policy.state_dim", config.state_dim, "states", schema.state_dims)
    check_equal("model.policy.action_dim", config.action_dim, "actions", schema.action_dims)


def acting_facts(
    stage: FrozenStage, scales: tuple[int, ...] | None = None, action_use: ActionUse | None = None
) -> ActingFacts:
    """What an export says of the robot and of the encoder that the stage was trained with."""
    data = stage.trainer.datamodule
    return ActingFacts(
        schema=asdict(data.schema),
        size=data.window.size,
        fps=data.window.fps,
        scales=scales,
        encoder_source=stage.source,
        encoder_digest=stage.encoder_digest,
        weights=stage.weights,
        action_use=action_use,
    )


def example_values(data: TrajectoryData) -> tuple[Float[Tensor, "n a"], Float[Tensor, "m s"]]:
    """Actions and states of the first training windows, the same ones in every process."""
    # Without pixels nothing is decoded, which takes nearly all of the time of a window.
    windows = data.training_windows(replace(data.window, pixels=False))
    examples = [windows[k] for k in range(EXAMPLES)]
    actions = torch.cat([example.actions for example in examples])
    states = torch.cat([example.states for example in examples])
    return actions, states

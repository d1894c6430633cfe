"""What action-conditioned post-training minimises (V-JEPA 2, section 3.1): equations 2, 3 and 4.

An episode has T + 1 frames and states and the T actions between them. Tokens are those of frames encoded one by one and
layer-normed (`vjepa.models.ac_predictor.encode_frames`). Errors are mean absolute differences over tokens and channels,
unless the recipe asks for Huber's.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from vjepa.errors import require
from vjepa.models.ac_predictor import ACPredictor


@dataclass(frozen=True)
class ObjectiveConfig:
    rollout_steps: int = 2
    """Steps of the rollout from the first frame."""
    every_step: bool = False
    """Average the rollout's error over all its steps, as the released code; else look at the last alone (equation 3)."""
    huber: float = 0.0
    """Differences below this count by their square (Huber), those above by their size. 0 as in the paper: L1, whose gradient
    asks as much of a background that is nearly right as of an arm that is in the wrong place."""

    def __post_init__(self) -> None:
        require(0 <= self.huber < float("inf"), f"objective.huber={self.huber} must be 0 or more")
        require(
            self.rollout_steps > 0, f"rollout_steps={self.rollout_steps} predicts nothing; give 1 or more"
        )


class Losses(NamedTuple):
    loss: Float[Tensor, ""]
    teacher_forcing: Float[Tensor, ""]
    rollout: Float[Tensor, ""]


def action_conditioned(
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    config: ObjectiveConfig,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> Losses:
    """Equation 4: the sum of both errors, and both. Their first step is the same one, and is taken once.

    Teacher forcing (equation 2): the error of every next frame, predicted from the true frames up to now. Rollout (equation 3):
    the error after `rollout_steps` steps from the first frame, each fed the guess of the one before.
    Raises UserError if the episode is shorter than that.
    """
    steps, frame = config.rollout_steps, frame_tokens.shape[1] // states.shape[1]
    require(
        steps <= actions.shape[1], f"rollout_steps={steps}, but an episode has {actions.shape[1]} actions"
    )
    camera = None if extrinsics is None else extrinsics[:, :-1]
    guesses, cache = predictor.extend((), frame_tokens[:, :-frame], actions, states[:, :-1], camera)
    first, rest = (
        guesses[:, :frame],
        [given if given is None else given[:, 1:steps] for given in (actions, states, camera)],
    )
    rolled = torch.cat(
        [first, predictor.rollout(first, *rest, cache=predictor.first_step(cache, frame))], dim=1
    )
    judged = slice(0 if config.every_step else frame * (steps - 1), frame * steps)
    teacher_forcing = smooth_l1_loss(guesses.float(), frame_tokens[:, frame:], beta=config.huber)
    rollout = smooth_l1_loss(rolled[:, judged].float(), frame_tokens[:, frame:][:, judged], beta=config.huber)
    return Losses(teacher_forcing + rollout, teacher_forcing, rollout)

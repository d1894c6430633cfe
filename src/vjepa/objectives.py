"""What action-conditioned post-training minimises (V-JEPA 2, section 3.1): equations 2, 3 and 4.

An episode has T + 1 frames and states and the T actions between them. Tokens are those of frames encoded one by one and
layer-normed (`vjepa.models.ac_predictor.encode_frames`). Errors are mean absolute differences over tokens and channels.
"""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import l1_loss

from vjepa.errors import refuse_unless
from vjepa.models.ac_predictor import ACPredictor


@dataclass(frozen=True)
class ObjectiveConfig:
    rollout_steps: int = 2
    """Steps of the rollout from the first frame."""
    every_step: bool = False
    """Average the rollout's error over all its steps, as the released code; else look at the last alone (equation 3)."""

    def __post_init__(self) -> None:
        refuse_unless(self.rollout_steps > 0, f"rollout_steps={self.rollout_steps} predicts nothing; give 1 or more")


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
    """Equation 4: the sum of teacher forcing and rollout, and both."""
    forced = teacher_forcing(predictor, frame_tokens, actions, states, extrinsics)
    rolled = rollout(predictor, frame_tokens, actions, states, config, extrinsics)
    return Losses(forced + rolled, forced, rolled)


def teacher_forcing(
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> Float[Tensor, ""]:
    """Equation 2: the error of every next frame, predicted from the true frames up to now."""
    frame = frame_tokens.shape[1] // states.shape[1]
    camera = None if extrinsics is None else extrinsics[:, :-1]
    guess = predictor(frame_tokens[:, :-frame], actions, states[:, :-1], camera)
    return l1_loss(guess.float(), frame_tokens[:, frame:])


def rollout(
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    config: ObjectiveConfig,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> Float[Tensor, ""]:
    """Equation 3: the error after `rollout_steps` steps from the first frame, each fed the guess of the one before.

    Raises UserError if the episode is shorter than that.
    """
    steps, frame = config.rollout_steps, frame_tokens.shape[1] // states.shape[1]
    refuse_unless(steps <= actions.shape[1], f"rollout_steps={steps}, but an episode has {actions.shape[1]} actions")
    camera = None if extrinsics is None else extrinsics[:, :steps]
    guess = predictor.rollout(frame_tokens[:, :frame], actions[:, :steps], states[:, :steps], camera)
    target = frame_tokens[:, frame : frame * (steps + 1)]
    judged = 0 if config.every_step else -frame
    return l1_loss(guess[:, judged:].float(), target[:, judged:])

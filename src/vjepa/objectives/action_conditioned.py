"""What action-conditioned post-training minimises: equations 2, 3 and 4 of V-JEPA 2 (section 3.1).

An episode has T + 1 frames and states, and the T actions between them. Tokens are those of frames encoded one
by one and layer-normed (`vjepa.models.encoder.encode_frames`). Errors are mean absolute differences over
tokens and channels, unless the recipe asks for Huber's.
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
    """The two errors whose sum is minimised."""

    rollout_steps: int = 2
    """Steps of the rollout from the first frame."""
    every_step: bool = False
    """Average the rollout's error over its steps, as in the released code; equation 3 takes the last one."""
    huber: float = 0.0
    """Differences below this count by their square (Huber), those above by their size. 0 is the paper's L1.
    Its gradient is as large for a background that is nearly right as for an arm that is in a wrong place."""

    def __post_init__(self) -> None:
        require(0 <= self.huber < float("inf"), f"objective.huber={self.huber} must be 0 or more")
        require(
            self.rollout_steps > 0, f"rollout_steps={self.rollout_steps} predicts nothing; give 1 or more"
        )


class Losses(NamedTuple):
    """The sum of both errors, and each of them."""

    loss: Float[Tensor, ""]
    teacher_forcing: Float[Tensor, ""]
    rollout: Float[Tensor, ""]


def action_conditioned_losses(
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    config: ObjectiveConfig,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> Losses:
    """Equation 4: the teacher-forcing error plus the rollout error.

    Teacher forcing (equation 2): every next frame is predicted from the true frames up to now. Rollout
    (equation 3): `rollout_steps` frames are predicted from the first one, each from the prediction before.
    Raises UserError if the episode is shorter than the rollout.
    """
    steps = config.rollout_steps
    require(
        steps <= actions.shape[1], f"rollout_steps={steps}, but an episode has {actions.shape[1]} actions"
    )
    frame = frame_tokens.shape[1] // states.shape[1]  # tokens per frame
    targets = frame_tokens[:, frame:]
    # The last state and the last pose of the camera have no action after them.
    camera = None if extrinsics is None else extrinsics[:, :-1]

    predictions, cache = predictor.extend((), frame_tokens[:, :-frame], actions, states[:, :-1], camera)
    # In float32, because bfloat16 would round away small errors; beta=0 is plain L1.
    teacher_forcing = smooth_l1_loss(predictions.float(), targets, beta=config.huber)

    # Both losses begin with the same prediction from the first frame, so the rollout goes on from there. Its
    # cache holds the first step alone: the later ones are of true frames.
    first = predictions[:, :frame]
    later = predictor.rollout(
        first,
        actions[:, 1:steps],
        states[:, 1:steps],
        None if camera is None else camera[:, 1:steps],
        cache=predictor.first_step(cache, frame),
    )
    rolled_out = torch.cat([first, later], dim=1)
    counted = slice(0 if config.every_step else frame * (steps - 1), frame * steps)
    rollout = smooth_l1_loss(rolled_out[:, counted].float(), targets[:, counted], beta=config.huber)
    return Losses(teacher_forcing + rollout, teacher_forcing, rollout)

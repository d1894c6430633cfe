"""The rollout error of an action-conditioned predictor at every horizon, beside controls.

model         gets the true actions
shuffled      gets the actions of another window; if its error is as low as the model's, the model ignores
              actions
zero          gets actions without motion
persistence   predicts that the first frame stays as it is, without a network
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vjepa.evaluation.tables import text_table
from vjepa.models.ac_predictor import ACPredictor
from vjepa.robots.pose import pose_apply
from vjepa.robots.schema import StateSchema

ROWS = ("model", "shuffled", "zero", "persistence")


@torch.no_grad()
def rollout_errors(
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    schema: StateSchema,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> dict[str, Float[Tensor, "_ T"]]:
    """For every row of the table and every window, the error after 1..T actions from the first frame.

    An error is the mean absolute difference between predicted and true tokens.

    A single window has no other to take actions from, so `shuffled` then has no rows.
    """
    controls = {
        "model": actions,
        "shuffled": of_another_window(actions),
        "zero": torch.zeros_like(actions),
    }
    errors = {
        row: error_given(given, predictor, frame_tokens, states, schema, extrinsics)
        for row, given in controls.items()
    }
    # No rows, rather than no entry: means leave out what is empty.
    if len(actions) < 2:
        errors["shuffled"] = errors["shuffled"][:0]
    frames = rearrange(frame_tokens, "b (t n) d -> b t n d", t=states.shape[1])
    return errors | {"persistence": mean_difference(frames[:, :1], frames[:, 1:])}


def of_another_window(actions: Float[Tensor, "b T a"]) -> Float[Tensor, "b T a"]:
    """For every window the actions of another one of the batch; a single window keeps its own."""
    # Neighbours in a batch may come from the same episode, so actions are taken from half a batch away.
    return actions.roll(max(1, len(actions) // 2), dims=0)


@torch.no_grad()
def error_given(
    given: Float[Tensor, "b T a"],
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    states: Float[Tensor, "b T+1 s"],
    schema: StateSchema,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> Float[Tensor, "b T"]:
    """The error of every window after 1..T of the given actions, which may be other than the true ones."""
    frames = rearrange(frame_tokens, "b (t n) d -> b t n d", t=states.shape[1])
    # A camera pose belongs to the frame in which an action begins.
    camera = None if extrinsics is None else extrinsics[:, :-1]
    # The states follow from the given actions: errors must differ in nothing but their actions.
    tokens = predictor.rollout(frames[:, 0], given, reached_states(given, states, schema), camera)
    predicted = rearrange(tokens, "b (t n) d -> b t n d", t=given.shape[1])
    return mean_difference(predicted, frames[:, 1:])


def mean_difference(
    predicted: Float[Tensor, "b #t n d"], truth: Float[Tensor, "b t n d"]
) -> Float[Tensor, "b t"]:
    # Predictions are in low precision under autocast.
    return (predicted.float() - truth).abs().mean(dim=(-2, -1))


def reached_states(
    actions: Float[Tensor, "b T a"], states: Float[Tensor, "b T+1 s"], schema: StateSchema
) -> Float[Tensor, "b T s"]:
    """The states in which the actions are taken, if each is reached by the action before it.

    With the true states, a control would see the true motion in them. Actions of a data set's own
    kind (`delta: recorded`) cannot be applied to states, so the recorded states are returned for them.
    """
    if schema.delta == "recorded":
        return states[:, :-1]
    reached = [states[:, 0]]
    for action in actions[:, :-1].unbind(1):
        reached.append(pose_apply(reached[-1], action, schema))
    return torch.stack(reached, dim=1)


def error_table(curves: dict[str, list[float]], windows: int) -> str:
    """One row for the model and each control, one column for each horizon."""
    horizons = [str(k + 1) for k in range(len(curves["model"]))]
    rows = [(row, *(f"{value:.4f}" for value in curve)) for row, curve in curves.items()]
    caption = f"error at each horizon, mean |difference| of tokens over {windows} held-out windows"
    return text_table(caption, [("actions ahead", *horizons), *rows], ("<14", *(">8" for _ in horizons)))

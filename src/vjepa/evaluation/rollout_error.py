"""How well an action-conditioned predictor foresees: its error at every horizon, beside controls that know less.

model         the true actions
shuffled      another window's actions: as good as the model's if actions are not used. Of another episode, where a batch
              holds more windows than two episodes have; of nobody for a window that is alone in its batch
zero          no motion
persistence   the first frame stays: no network at all
"""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import UserError
from vjepa.models.ac_predictor import ACPredictor
from vjepa.robots.pose import pose_apply
from vjepa.robots.schema import StateSchema

ROWS = ("model", "shuffled", "zero", "persistence")
STYLES = {"model": "o-", "shuffled": "s--", "zero": "^--", "persistence": "x:"}


@torch.no_grad()
def errors(
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    schema: StateSchema,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> dict[str, Float[Tensor, "_ T"]]:
    """Mean absolute difference from the true tokens after 1..T actions from the first frame, for every window and row.

    The states are those that the row's actions lead to, so that they cannot tell what the actions hide; only actions of the
    data's own kind (`delta: recorded`) are beside the true states.
    """
    frames = rearrange(frame_tokens, "b (t n) d -> b t n d", t=states.shape[1])
    camera = None if extrinsics is None else extrinsics[:, :-1]
    found = {"persistence": away(frames[:, :1], frames[:, 1:])}
    others = actions.roll(max(1, len(actions) // 2), dims=0)
    given = {"model": actions, "shuffled": others, "zero": torch.zeros_like(actions)}
    for row, acted in given.items():
        guess = predictor.rollout(frames[:, 0], acted, followed(acted, states, schema), camera)
        found[row] = away(rearrange(guess, "b (t n) d -> b t n d", t=acted.shape[1]), frames[:, 1:])
    if len(actions) < 2:
        found["shuffled"] = found["shuffled"][:0]
    return {row: found[row] for row in ROWS}


def away(guess: Float[Tensor, "b #t n d"], truth: Float[Tensor, "b t n d"]) -> Float[Tensor, "b t"]:
    return (guess.float() - truth).abs().mean(dim=(-2, -1))


def followed(
    actions: Float[Tensor, "b T a"], states: Float[Tensor, "b T+1 s"], schema: StateSchema
) -> Float[Tensor, "b T s"]:
    """The states in which actions are taken, if they follow one another from the first state."""
    if schema.delta == "recorded":
        return states[:, :-1]
    reached = [states[:, 0]]
    for action in actions[:, :-1].unbind(1):
        reached.append(pose_apply(reached[-1], action, schema))
    return torch.stack(reached, dim=1)


def table(curves: dict[str, list[float]], windows: int) -> str:
    """One row a control, one column a horizon."""
    lines = [f"error at each horizon, mean |difference| of tokens over {windows} held-out windows"]
    lines.append(f"  {'actions ahead':<14}" + "".join(f"{k + 1:8d}" for k in range(len(curves["model"]))))
    lines += [f"  {row:<14}" + "".join(f"{value:8.4f}" for value in curve) for row, curve in curves.items()]
    return "\n".join(lines)


def figure(curves: dict[str, list[float]], title: str):
    """The curves as a matplotlib figure. Raises UserError without matplotlib, the `plot` extra."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError(
            "the error-versus-horizon curve needs matplotlib; pip install 'vjepa[plot]'"
        ) from error
    picture = Figure(figsize=(5.4, 3.8), layout="constrained")
    axes = picture.subplots()
    for row, curve in curves.items():
        axes.plot(range(1, len(curve) + 1), curve, STYLES[row], label=row)
    axes.set(xlabel="actions ahead", ylabel="mean |difference| of tokens", title=title)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    return picture


def save(curves: dict[str, list[float]], title: str, path: Path) -> None:
    """The figure as PNG."""
    figure(curves, title).savefig(path, dpi=140)

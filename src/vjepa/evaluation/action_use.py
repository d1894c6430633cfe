"""Whether a predictor uses actions, and which of their numbers: errors with shuffled actions over errors.

    errors = rollout_errors(predictor, tokens, actions, states, schema)
    errors |= action_use_errors(errors, predictor, tokens, actions, states, schema)
    use = {"all": [1.59, 1.34], "x": [1.2, 1.1], "roll": [None, None]}  # by horizon, of their means
    print(use_report(use, grippers=()))

A ratio is 1 for a predictor to which the shuffled numbers mean nothing. It is over those windows in which
shuffling changes them noticeably by the horizon: a gripper rests most of the time, and windows in which both
actions leave it at rest say nothing about it. Without any such window, a dimension cannot be judged.
"""

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vjepa.evaluation.rollout_error import error_given, of_another_window
from vjepa.evaluation.tables import markdown_table
from vjepa.models.ac_predictor import ACPredictor
from vjepa.robots.schema import StateSchema
from vjepa.weights.action_use import ALL, ActionUse, is_used, ratio_text, unused_sentence, use_text

NOTICEABLE = 0.01
"""Share of half the range of a dimension's bounds. A smaller change of an action is the noise of a sensor."""

Use = Mapping[str, Sequence[float | None]]
"""For `all`, and for each dimension, the ratio 1, 2, ... actions ahead; None where nothing changes."""


@torch.no_grad()
def action_use_errors(
    errors: Mapping[str, Float[Tensor, "_ T"]],
    predictor: ACPredictor,
    frame_tokens: Float[Tensor, "b n d"],
    actions: Float[Tensor, "b T a"],
    states: Float[Tensor, "b T+1 s"],
    schema: StateSchema,
    extrinsics: Float[Tensor, "b T+1 x"] | None = None,
) -> dict[str, Float[Tensor, "b T"]]:
    """For all dimensions of actions and for each alone, rows `shuffled x` and `true x`.

    They hold the error after 1..T actions with these dimensions shuffled between windows, and with the true
    actions. Both are 0 for windows that the shuffle has not changed by then, so the ratio of their means is
    over the others; a single window has none to change with.

    errors: `rollout_errors` of the same windows.
    """
    others = of_another_window(actions)
    true = errors["model"]
    shuffled = errors["shuffled"] if len(actions) > 1 else true
    rows = changed_errors(ALL, shuffled, true, changed_by(actions, others, schema))
    for dim, label in enumerate(schema.action_labels):
        given = actions.clone()
        given[..., dim] = others[..., dim]
        # Also where nothing changes: processes that share the weights have to run the network equally often.
        shuffled = error_given(given, predictor, frame_tokens, states, schema, extrinsics)
        rows |= changed_errors(label, shuffled, true, changed_by(actions, given, schema))
    return rows


def changed_by(
    actions: Float[Tensor, "b T a"], given: Float[Tensor, "b T a"], schema: StateSchema
) -> Bool[Tensor, "b T"]:
    """Whether the first 1..T actions of a window differ noticeably from those given in their place."""
    bounds = actions.new_tensor(schema.bounds)
    noise = NOTICEABLE * (bounds[:, 1] - bounds[:, 0]) / 2
    differ = ((given - actions).abs() > noise).any(dim=-1)
    return differ.cumsum(dim=1) > 0


def changed_errors(
    label: str, shuffled: Float[Tensor, "b T"], true: Float[Tensor, "b T"], changed: Bool[Tensor, "b T"]
) -> dict[str, Float[Tensor, "b T"]]:
    """The two rows of a label."""
    rows = zip(rows_of(label), (shuffled, true), strict=True)
    return {row: torch.where(changed, error, 0.0) for row, error in rows}


def rows_of(label: str) -> tuple[str, str]:
    """Names of the rows with shuffled and with true actions."""
    return f"shuffled {label}", f"true {label}"


def labels_of(schema: StateSchema) -> dict[str, tuple[str, str]]:
    """What is shuffled, everything and each dimension of an action, and the names of its two rows."""
    return {label: rows_of(label) for label in (ALL, *schema.action_labels)}


def use_of(shuffled: Sequence[float], true: Sequence[float]) -> list[float | None]:
    """The ratios of two rows of means; None where no window counted, or no error is known."""
    pairs = zip(shuffled, true, strict=True)
    return [error / right if right > 0 and isfinite(error) else None for error, right in pairs]


def one_ahead(use: Use) -> ActionUse | None:
    """The ratios one action ahead; None where nothing could be judged."""
    ratios = {label: curve[0] for label, curve in use.items()}
    return None if ratios[ALL] is None else ratios


def use_report(use: Use, grippers: Sequence[str]) -> str:
    """One line that says whether actions are used, and below it a warning if a planner will lack something.

    grippers: Names of the dimensions that move a gripper.
    """
    sentence = unused_sentence(one_ahead(use), grippers)
    return use_line(use) + (f"\nwarning: {sentence}" if sentence else "")


def use_line(use: Use) -> str:
    """Whether actions are used: the ratios of whole actions at both ends, and of each dimension one ahead."""
    ratios = one_ahead(use)
    if ratios is None:
        return "whether actions are used is not known: no two held-out windows of a batch differ in them"
    horizons = len(use[ALL])
    last = use[ALL][-1]
    further = f", {ratio_text(last)} times {horizons} ahead" if horizons > 1 and last is not None else ""
    return f"actions are {'used' if is_used(ratios) else 'not used'}: {use_text(ratios, further)}"


def use_table(use: Use) -> str:
    """All ratios as Markdown: a row for what is shuffled, a column for each horizon."""
    header = ["shuffled", *(f"{k} ahead" for k in range(1, len(use[ALL]) + 1))]
    rows = [
        (label, *("-" if ratio is None else ratio_text(ratio) for ratio in curve))
        for label, curve in use.items()
    ]
    return markdown_table(header, rows)

"""Whether an action-conditioned predictor uses actions, as its export says it: ratios, and what follows.

    use = {"all": 1.59, "x": 1.17, "roll": None, "gripper": 1.001}
    unused_sentence(use, grippers=("gripper",))     # a planner cannot tell ... what the gripper does ...

A ratio is the predictor's error one action ahead with shuffled actions, over its error with the true ones, on
held-out windows: `all` with whole actions shuffled, the others with one dimension of them alone. None stands
for a dimension that does not vary there. `vjepa.evaluation.action_use` measures it.
"""

from collections.abc import Mapping, Sequence

from vjepa.errors import require

ActionUse = Mapping[str, float | None]
"""Ratio by `all` and by the name of each dimension of an action."""

ALL = "all"
USED = 1.02
"""Ratio from which on actions count as used. It is 1 for a predictor that ignores them, and a ratio near 1
has a standard error of 0.002 over 127 windows of the demo. The demo's own is 1.59; at 1.04 its planner still
reached nothing. But the error is of whole frames: where the arm fills little of them, less can be asked."""
GRIPPER_USED = 1.005
"""The same of a gripper alone, whose fingers are in few tokens of a frame."""
MOST_RATIO = 1e9
"""A greater one must be damaged."""


def check_action_use(given: object) -> None:
    """Raise UserError unless a value in a file is what a stage writes there: ratios by name."""
    ratios = given.values() if isinstance(given, Mapping) else ["none"]
    numbers = all(ratio is None or is_ratio(ratio) for ratio in ratios)
    require(numbers, f"action_use is {str(given)[:80]}; expected ratios of errors by name")


def is_ratio(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value < MOST_RATIO


def unused_sentence(use: ActionUse | None, grippers: Sequence[str] = ()) -> str | None:
    """What a planner cannot do with these weights, and what to do about it; None where nothing is missing.

    use: None for a file that does not say it.
    grippers: Names of the dimensions that move a gripper, where the planner is to move one.
    """
    known = {name: ratio for name, ratio in (use or {}).items() if ratio is not None}
    if known.get(ALL, USED) < USED:
        return (
            "a planner cannot tell actions apart with these weights, since shuffling them makes the error "
            f"only {ratio_text(known[ALL])} times as large; check that states and images are of the same "
            "moments, train longer, or lower data.window.fps until an action moves the image visibly"
        )
    unused = [name for name in grippers if known.get(name, GRIPPER_USED) < GRIPPER_USED]
    if not unused:
        return None
    return (
        "a planner cannot tell with these weights what the gripper does, since shuffling "
        f"{' or '.join(unused)} alone makes the error only {ratio_text(known[unused[0]])} times as large; "
        "record more episodes in which it moves, or train longer"
    )


def is_used(use: ActionUse) -> bool:
    """Whether whole actions count as used."""
    ratio = use.get(ALL)
    return ratio is not None and ratio >= USED


def use_text(use: ActionUse, further: str = "") -> str:
    """The ratios in one line. further: What is known of more actions ahead, beside the first ratio."""
    ratio = use.get(ALL)
    whole = "" if ratio is None else f"shuffled actions make the error {ratio_text(ratio)} times as large "
    alone = [
        f"{name} does not vary" if ratio is None else f"{name} {ratio_text(ratio)}"
        for name, ratio in use.items()
        if name != ALL
    ]
    return f"{whole}1 action ahead{further}; by dimension: {', '.join(alone)}"


def ratio_text(ratio: float) -> str:
    """Two digits, or three where two would not tell the ratio from 1."""
    short = f"{ratio:.2f}"
    return f"{ratio:.3f}" if short == "1.00" else short

"""What a robot's states and actions mean, number by number.

    arm = END_EFFECTOR                                  # xyz, three angles, gripper
    joints = vector_schema(("shoulder", "elbow"), "rad", bound=0.2)

A schema is a frozen dataclass: `dataclasses.asdict` and `vjepa.weights.settings` take it through JSON.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require

FULL_TURN = 2 * math.pi
"""Radians. An angle beyond it is most likely in degrees."""


@dataclass(frozen=True)
class StateSchema:
    """What a state is, and what an action does to it. The default: one arm's end effector and gripper."""

    names: tuple[str, ...] = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    """Names of the state's dimensions."""
    units: tuple[str, ...] = ("m", "m", "m", "rad", "rad", "rad", "closed")
    """Unit of each dimension; data in `rad` is checked to lie within +-2 pi. `closed`: 0 open .. 1 closed."""
    position: tuple[int, ...] = (0, 1, 2)
    """Dimensions of positions, in threes (two arms have six)."""
    rotation: tuple[int, ...] = (3, 4, 5)
    """Dimensions of extrinsic xyz Euler angles, in threes, one for each three of `position`."""
    gripper: tuple[int, ...] = (6,)
    """Dimensions of grippers."""
    delta: Literal["pose", "difference", "recorded"] = "pose"
    """`difference`: an action is the difference of two states. `pose`: the same, but rotations change by
    R1 R0^T. `recorded`: actions are the data's own, and what they do to a state is not known."""
    actions: tuple[str, ...] = ()
    """Names of the action's dimensions; empty: those of the state."""
    # 7.5 cm per axis, as in the released planner.
    bounds: tuple[tuple[float, float], ...] = (((-0.075, 0.075),) * 3) + (((-0.5, 0.5),) * 3) + ((-1.0, 1.0),)
    """Least and greatest action for each dimension: a planner searches within them, and data should cover
    them."""
    centres: tuple[float, ...] = ()
    """For each angle of `rotation`, radians: the middle of the range of 2 pi in which its values are given;
    empty: as they come. A hand that points down has a roll of +pi or -pi by chance, and a network sees a jump
    from one to the other. With a centre of 3.1416 there is none."""

    def __post_init__(self) -> None:
        self._check_dimensions()
        self._check_angles()
        self._check_actions()

    def _check_dimensions(self) -> None:
        require(bool(self.names), "schema.names is empty; name the dimensions of a state")
        require(
            len(self.units) == len(self.names),
            f"schema.units has {len(self.units)} entries for {len(self.names)} names; give one for each",
        )
        # Each at most once; plain numbers, such as joints, are in none of the three.
        dims = (*self.position, *self.rotation, *self.gripper)
        known = all(0 <= dim < len(self.names) for dim in dims)
        require(
            known and len(set(dims)) == len(dims),
            f"schema: position, rotation and gripper name {dims}; "
            f"each must be one of 0..{len(self.names) - 1}, once",
        )

    def _check_angles(self) -> None:
        require(
            len(self.rotation) % 3 == 0 and len(self.position) % 3 == 0,
            f"schema: {len(self.position)} position and {len(self.rotation)} rotation dimensions; "
            f"both come in threes",
        )
        not_radians = [self.names[dim] for dim in self.rotation if self.units[dim] != "rad"]
        require(not not_radians, f"schema.units: the angles {not_radians} must be in rad; convert the data")
        one_each = len(self.centres) in (0, len(self.rotation))
        require(
            one_each and all(map(math.isfinite, self.centres)),
            f"schema.centres={self.centres} for {len(self.rotation)} angles; "
            f"give one number of radians for each, or none",
        )

    def _check_actions(self) -> None:
        require(
            self.delta == "recorded" or not self.actions,
            f"schema.actions names dimensions, but under delta={self.delta} they are the state's; "
            f"leave it empty",
        )
        growing = all(low < high for low, high in self.bounds)
        require(
            len(self.bounds) == self.action_dims and growing,
            f"schema.bounds must be {self.action_dims} pairs (least, greatest), "
            f"one for each dimension of an action, got {self.bounds}",
        )

    @property
    def state_dims(self) -> int:
        return len(self.names)

    @property
    def action_dims(self) -> int:
        return len(self.actions or self.names)

    @property
    def action_labels(self) -> tuple[str, ...]:
        """A name for each dimension of an action: its own, with its number where several have the same."""
        names = self.actions or self.names
        return tuple(name if names.count(name) == 1 else f"{name} ({dim})" for dim, name in enumerate(names))

    @property
    def gripper_labels(self) -> tuple[str, ...]:
        """Those of `action_labels` that move a gripper: their dimensions are called as the gripper's are."""
        # Recorded actions may be others than the state's, so the state's indices do not count here.
        grippers = {self.names[dim] for dim in self.gripper}
        named = zip(self.action_labels, self.actions or self.names, strict=True)
        return tuple(label for label, name in named if name in grippers)

    def clip(self, action: Float[Tensor, "*b Da"]) -> Float[Tensor, "*b Da"]:
        """The nearest action within the bounds."""
        # Numbers, because bounds in a tensor would be copied to the GPU at every call.
        clipped = [action[..., i].clamp(low, high) for i, (low, high) in enumerate(self.bounds)]
        return torch.stack(clipped, -1)

    def wrap(self, state: Float[Tensor, "*b Ds"]) -> Float[Tensor, "*b Ds"]:
        """The state that networks are given: each angle moved by whole turns to within +-pi of its centre."""
        if not self.centres:
            return state
        wrapped = state.clone()
        # One angle at a time: the centres in a tensor would be copied to the GPU at every call.
        for dim, centre in zip(self.rotation, self.centres, strict=True):
            # In whole turns the rotation stays the same.
            wrapped[..., dim] += FULL_TURN * ((centre - state[..., dim]) / FULL_TURN).round()
        return wrapped

    def outside(self, actions: Float[Tensor, "*b Da"]) -> float:
        """Share of the actions that have a dimension beyond its bounds, 0..1."""
        far = (self.clip(actions) - actions).abs() > 1e-6  # more than rounding
        return float(far.any(-1).double().mean())


END_EFFECTOR = StateSchema()


def vector_schema(names: tuple[str, ...], unit: str, bound: float) -> StateSchema:
    """Plain numbers whose actions are differences within +-bound: joints, a mobile base, a cursor."""
    return StateSchema(
        names=names,
        units=(unit,) * len(names),
        position=(),
        rotation=(),
        gripper=(),
        delta="difference",
        bounds=((-bound, bound),) * len(names),
    )

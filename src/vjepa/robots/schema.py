"""Schema."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.errors import require

FULL_TURN = 2 * math.pi
"""Radians. Greater angles are most likely degrees."""


@dataclass(frozen=True)
class StateSchema:
    """What a state is, number by number, and what an action does to it. The default: one arm's end effector and gripper."""

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
    """Actions are differences of states, with rotations as R1 R0^T (`pose`) or as all the rest (`difference`); or they are
    the data's own (`recorded`), and nobody knows what they do to a state."""
    actions: tuple[str, ...] = ()
    """Names of the action's dimensions; empty: those of the state."""
    bounds: tuple[tuple[float, float], ...] = (((-0.075, 0.075),) * 3) + (((-0.5, 0.5),) * 3) + ((-1.0, 1.0),)
    """Least and greatest action, for each dimension: what a planner may try, what data should cover."""
    centres: tuple[float, ...] = ()
    """For each angle of `rotation`, the angle that its values lie within +-pi of, radians; empty: as they come. A hand that
    points down has a roll of +pi or -pi by chance, which a network would see as a jump: 3.1416 as its centre heals that."""

    def __post_init__(self) -> None:
        self._check_dimensions()
        self._check_actions()

    def _check_dimensions(self) -> None:
        dims = (*self.position, *self.rotation, *self.gripper)
        require(bool(self.names), "schema.names is empty; name the dimensions of a state")
        require(
            len(self.units) == len(self.names),
            f"schema.units has {len(self.units)} entries for {len(self.names)} names; give one unit for each dimension",
        )
        require(
            len(set(dims)) == len(dims) and all(0 <= dim < len(self.names) for dim in dims),
            f"schema: position, rotation and gripper name {dims}; each must be one of 0..{len(self.names) - 1}, once",
        )
        require(
            len(self.rotation) % 3 == 0 and len(self.position) % 3 == 0,
            f"schema: {len(self.position)} position and {len(self.rotation)} rotation dimensions; both come in threes",
        )
        wrong = [self.names[dim] for dim in self.rotation if self.units[dim] != "rad"]
        require(not wrong, f"schema.units: the angles {wrong} must be in rad; convert the data")
        require(
            len(self.centres) in (0, len(self.rotation)) and all(map(math.isfinite, self.centres)),
            f"schema.centres={self.centres} for {len(self.rotation)} angles; give one number of radians for each, or none",
        )

    def _check_actions(self) -> None:
        require(
            self.delta == "recorded" or not self.actions,
            f"schema.actions names dimensions, but under delta={self.delta} they are the state's; leave it empty",
        )
        require(
            len(self.bounds) == self.action_dims and all(low < high for low, high in self.bounds),
            f"schema.bounds must be {self.action_dims} pairs (least, greatest), one for each dimension of an action, "
            f"got {self.bounds}",
        )

    @property
    def state_dims(self) -> int:
        return len(self.names)

    @property
    def action_dims(self) -> int:
        return len(self.actions or self.names)

    def clip(self, action: Float[Tensor, "*b Da"]) -> Float[Tensor, "*b Da"]:
        """The nearest action within the bounds."""
        return torch.stack([action[..., i].clamp(low, high) for i, (low, high) in enumerate(self.bounds)], -1)

    def wrap(self, state: Float[Tensor, "*b Ds"]) -> Float[Tensor, "*b Ds"]:
        """The same state with its angles by whole turns nearest to their `centres`: what networks are given."""
        if not self.centres:
            return state
        wrapped = state.clone()
        for dim, centre in zip(
            self.rotation, self.centres, strict=True
        ):  # not one tensor: that would be a copy to the GPU
            wrapped[..., dim] += FULL_TURN * ((centre - state[..., dim]) / FULL_TURN).round()
        return wrapped

    def outside(self, actions: Float[Tensor, "*b Da"]) -> float:
        """Share of actions of which at least one dimension lies beyond the bounds, 0..1."""
        far = (self.clip(actions) - actions).abs() > 1e-6
        return float(far.any(-1).double().mean())


END_EFFECTOR = StateSchema()


def vector_schema(names: tuple[str, ...], unit: str, bound: float) -> StateSchema:
    """A schema of plain numbers whose actions are differences within +-bound: joints, a mobile base, a cursor."""
    none: tuple[int, ...] = ()
    bounds = ((-bound, bound),) * len(names)
    return StateSchema(names, (unit,) * len(names), none, none, none, delta="difference", bounds=bounds)


def schema_from(fields: Mapping[str, Any]) -> StateSchema:
    """The schema whose `dataclasses.asdict` has been through JSON, which has lists for tuples."""
    tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return StateSchema(**(tuples | {"bounds": tuple((low, high) for low, high in fields["bounds"])}))

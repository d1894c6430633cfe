"""What networks were trained for: their clips, and what the states and actions of a robot mean.

An export says this, so that those who use its networks need not repeat it. None stands for what a file does
not say, as those of older versions and of other people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from vjepa.errors import announce

Value = TypeVar("Value")


@dataclass(frozen=True)
class ClipFacts:
    """The clips that an encoder was trained on."""

    frames: int
    """Frames of a clip."""
    fps: float
    """Frames per second of video time."""
    size: int
    """Height and width, pixels."""

    def __str__(self) -> str:
        return f"{self.frames} frames at {self.fps:g} fps, {self.size} px"


@dataclass(frozen=True)
class ActingFacts:
    """What an action-conditioned predictor, or a cloned policy, was trained for."""

    schema: Mapping[str, Any] = field(default_factory=dict)
    """What the numbers of states and actions mean, as plain JSON values: the fields of a `StateSchema`."""
    size: int | None = None
    """Height and width of the images, pixels."""
    fps: float | None = None
    """Actions per second."""
    scales: tuple[int, ...] | None = None
    """Sides of the squares of tokens that the planner's energy compares."""
    encoder_source: str | None = None
    """Where the encoder was whose tokens it reads."""
    encoder_digest: str | None = None
    """Digest of that encoder's weights."""
    weights: Literal["ema", "student"] = "ema"
    """Which of its source's encoders that is."""

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "ActingFacts":
        """The facts in what an export says of such a part."""
        known = {key: description[key] for key in cls.__dataclass_fields__ if description.get(key)}
        if "scales" in known:
            known["scales"] = tuple(known["scales"])  # JSON has no tuples
        return cls(**known)


def chosen(
    source: str | Path, setting: str, known: Value | None, given: Value | None, default: Value | None = None
) -> Value | None:
    """The value of a setting: the given one, else the one that the weights know, else the default.

    One line on stderr says so where the given one is not the weights', and where the weights do not know it.
    """
    if given is None and known is not None:
        return known
    if known is not None and given != known:
        announce(f"{source}: {setting} is {given}; the weights were trained for {known}")
    if known is None and given is None and default is not None:
        announce(f"{source} does not say its {setting}; {default} is taken")
    return default if given is None else given

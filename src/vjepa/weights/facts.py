"""What networks were trained for: their clips, and what the states and actions of a robot mean.

An export says this, so that those who use its networks need not repeat it. None stands for what a file does
not say, as those of older versions and of other people.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from vjepa.errors import announce, require
from vjepa.weights.action_use import ActionUse, check_action_use
from vjepa.weights.settings import settings

Value = TypeVar("Value")

PAPER_FPS = 4.0
"""Frames per second of the clips of V-JEPA 2's pretraining, which no released file names."""
MOST_FRAMES = 1 << 16
MOST_SIZE = 1 << 14
"""Frames of a clip, and its height and width in pixels, beyond which a file must be damaged."""


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
    action_use: ActionUse | None = None
    """Whether the predictor uses actions, on held-out windows."""

    def __post_init__(self) -> None:
        known = [number for number in (self.size, self.fps, *(self.scales or ())) if number is not None]
        possible = min(known, default=1) > 0 and (self.size or 0) <= MOST_SIZE
        require(possible, f"images of {self.size} px, {self.fps} actions per second and scales {self.scales}")

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "ActingFacts":
        """The facts in what an export says of such a part. Raises UserError for one of another type."""
        known = {key: description[key] for key in cls.__dataclass_fields__ if description.get(key)}
        # Settings are checked to be of a type, but not what they hold by name.
        check_action_use(known.get("action_use", {}))
        return settings(cls, known)


def clip_facts(clip: Mapping[str, Any]) -> ClipFacts:
    """The clips that a file names. Raises UserError for numbers that no clip has."""
    facts = settings(ClipFacts, clip)
    possible = 0 < facts.frames <= MOST_FRAMES and 0 < facts.size <= MOST_SIZE and facts.fps > 0
    require(possible, f"clips of {facts}")
    return facts


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

"""A world model whose energy also compares the arm's state, as read from the pictures of now and of the goal.

    world = ReadingWorld(world_model, load_reader("state.safetensors"), extrinsics, StateEnergy())
    policy = MPC(world, MPCConfig(), goals, generator)

Not in V-JEPA 2, whose energy compares tokens alone. A few centimetres of the hand, and whether it holds
something, change few of a frame's tokens a little. A head trained on the states that every robot logs reads
both (`vjepa.models.state_reader`). The place of the hand is read with the same head in both pictures, and an
action moves the place that was read, not the measured one: what the head gets wrong in one camera's view it
gets wrong in both, and the error cancels where hand and goal meet.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2.functional import resize, resized_crop

from vjepa.errors import require
from vjepa.models.encoder import encode_frames
from vjepa.models.state_reader import StateReader
from vjepa.planning.energy import Energy
from vjepa.planning.world_model import WorldModel
from vjepa.robots.hand_view import HandView, beside, hand_box, in_robot


@dataclass(frozen=True)
class StateEnergy:
    """How much the arm's state counts in the energy, beside the distance of tokens."""

    tokens: float = 1.0
    """Weight of the tokens' distance, the paper's energy; 0 leaves the state alone."""
    position: float = 10.0
    """Weight of a metre between hand and goal, summed over the axes."""
    gripper: float = 0.5
    """Weight of a gripper that is open and should be closed."""
    near: float = 0.03
    """Metres from the goal, summed over the axes, from which on the goal decides about the gripper. Farther
    away it stays as it is: a hand that closes on its way arrives closed."""

    closing: float = -1.0
    """Logit from which on the goal's gripper counts as closing. Few recorded frames show an object on the
    table between the fingers, and a reader takes some of these for an open hand."""

    def __post_init__(self) -> None:
        weights = (self.tokens, self.position, self.gripper, self.near)
        require(
            all(0 <= weight < inf for weight in weights) and isfinite(self.closing),
            f"planner.state: tokens, position, gripper and near must be 0 or more, got {weights}, "
            f"and closing a number, got {self.closing}",
        )


class Reader(NamedTuple):
    """A reader of the arm's state, and the pictures that it was trained on."""

    network: StateReader
    size: int
    """Height and width, pixels, to which whole pictures are resized."""
    view: HandView
    """The square around the hand."""


class ArmReading(NamedTuple):
    """What was read of the arm in a picture."""

    position: Float[Tensor, "b 3"]
    """Of the hand in the robot's frame, metres."""
    closing: Float[Tensor, " b"]
    """Logit that the gripper closes or is closed."""


class ReadingWorld:
    """A world model, a reader, and the camera whose pictures it reads.

    Its tokens are those of a picture and one more, which holds the reading.
    """

    def __init__(
        self,
        world: WorldModel,
        reader: Reader,
        extrinsics: Float[Tensor, "6"],
        config: StateEnergy = StateEnergy(),
    ) -> None:
        """
        Args:
            world: Imagines, and compares tokens.
            reader: Trained on the tokens of the same encoder.
            extrinsics: The camera's pose in the robot's frame, xyz in metres and three angles.
            config: The weights of the energy's terms.
        """
        self.world = world
        self.reader = reader
        self.extrinsics = extrinsics
        self.config = config

    @torch.no_grad()
    def encode(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n d"]:
        """Layer-normed tokens of normalised images, and a last one with what was read."""
        size = self.world.size
        tokens = self.world.encode(resize(image, [size, size], antialias=True))
        return with_reading(tokens, self.read(image))

    @torch.no_grad()
    def read(self, image: Float[Tensor, "b c h w"]) -> ArmReading:
        """The arm's state in normalised images of any size."""
        reader = self.reader
        whole = resize(image, [reader.size, reader.size], antialias=True)
        seen = reader.network.hand(encode_frames(self.world.encoder, whole[:, :, None]))
        hands = torch.cat([hand_squares(*pair, reader.view) for pair in zip(image, seen, strict=True)])
        logits = reader.network.gripper(encode_frames(self.world.encoder, hands[:, :, None]))
        # A reading depends on where the square lies by a pixel; the mean of several does so less.
        closing = reduce(logits, "(b k) -> b", "mean", b=len(image))
        return ArmReading(in_robot(seen, self.extrinsics), closing)

    def energy(
        self, tokens: Float[Tensor, "1 n d"], state: Float[Tensor, "1 Ds"], goal: Float[Tensor, "1 n d"]
    ) -> Energy:
        """Equation 5, and how far the arm's state will be from the goal's."""
        distance = self.world.energy(tokens[:, :-1], state, goal[:, :-1])
        now = reading_of(tokens)
        aim = reading_of(goal)

        @torch.no_grad()
        def energy_of(actions: Float[Tensor, "s T a"]) -> Float[Tensor, " s"]:
            energies = self.state_energy(actions, now, aim, state)
            # Without weight nothing is imagined, which takes nearly all of the time.
            return energies + self.config.tokens * distance(actions) if self.config.tokens else energies

        return energy_of

    def state_energy(
        self, actions: Float[Tensor, "s T a"], now: ArmReading, aim: ArmReading, state: Float[Tensor, "1 Ds"]
    ) -> Float[Tensor, " s"]:
        """The mean over a plan's steps, so that the hand arrives as early as it can."""
        schema = self.world.schema
        (gripper,) = schema.gripper
        way = aim.position - now.position
        moved = actions[..., list(schema.position)].cumsum(dim=1)
        metres = (way - moved).abs().sum(dim=-1)

        squeezed = actions[..., gripper].cumsum(dim=1)
        wanted = (aim.closing > self.config.closing).float()
        # Measured closedness: fingers around an object are not closed, so they go on pressing.
        missing = (wanted - (state[:, gripper] + squeezed).clamp(0, 1)).abs()
        open_or_shut = torch.where(self.is_near(way), missing, squeezed.abs())
        weighted = self.config.position * metres + self.config.gripper * open_or_shut
        return weighted.mean(dim=1)

    def is_near(self, way: Float[Tensor, "1 3"]) -> Bool[Tensor, ""]:
        """Whether the goal decides about the gripper."""
        return way.abs().sum() < self.config.near


def hand_squares(
    image: Float[Tensor, "c h w"], seen: Float[Tensor, "3"], view: HandView
) -> Float[Tensor, "k c size size"]:
    """Nine squares of a picture: around a hand that its camera sees at `seen`, metres, and beside it."""
    shifts = view.jitter * torch.tensor([-1.0, 0.0, 1.0])
    places = beside(seen, torch.cartesian_prod(shifts, shifts), view)
    boxes = [hand_box(place, *image.shape[-2:], view) for place in places]
    size = [view.size, view.size]
    return torch.stack([resized_crop(image, *box, size, antialias=True) for box in boxes])


def with_reading(tokens: Float[Tensor, "b n d"], reading: ArmReading) -> Float[Tensor, "b m d"]:
    """The tokens, and one more that holds the reading in its first four numbers: m = n + 1."""
    numbers = torch.cat([reading.position, reading.closing[:, None]], dim=-1)
    padded = pad(numbers, (0, tokens.shape[-1] - numbers.shape[-1]))
    return torch.cat([tokens, rearrange(padded, "b d -> b 1 d")], dim=1)


def reading_of(tokens: Float[Tensor, "b m d"]) -> ArmReading:
    """The reading that `with_reading` has put at the end."""
    return ArmReading(tokens[:, -1, :3], tokens[:, -1, 3])

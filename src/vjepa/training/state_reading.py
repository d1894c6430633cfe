"""What a reader of the arm's state is trained and scored on: frozen tokens, and the states that a robot logs.

    reading = StateReading(encoder, data, latents, StateReaderConfig())
    losses = reading.losses(batch, tokens, "train")

Where the camera sees the hand follows from the arm's state and the camera's pose. Whether the gripper closes
follows from how its measured closedness last changed: the measured value cannot tell fingers around an object
from fingers that are half open.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from vjepa.errors import require
from vjepa.models.encoder import Encoder
from vjepa.models.state_reader import StateReader, StateReaderConfig
from vjepa.robots.cached_windows import LatentsConfig
from vjepa.robots.episodes import Episodes
from vjepa.robots.hand_view import in_camera
from vjepa.robots.hand_windows import HandWindows
from vjepa.robots.trajectory_data import TrajectoryData
from vjepa.robots.window_batches import TrajectoryBatch
from vjepa.training.frame_tokens import FrameTokens

CHANGE = 0.04
"""Least change of the measured closedness, between two rows, that counts as closing or opening."""
HUBER = 0.1
"""Deviations below which the error of a place counts by its square."""


class Labels(NamedTuple):
    """The truth about the frames of a batch."""

    seen: Float[Tensor, "n 3"]
    """Where the camera sees the hand, metres."""
    closing: Float[Tensor, " n"]
    """1 if the gripper closes or is closed, else 0."""


class ReadingLosses(NamedTuple):
    """Means over the frames of a batch."""

    place: Float[Tensor, ""]
    """Huber's loss of slopes and depth, in deviations."""
    closing: Float[Tensor, ""]
    """Cross-entropy of the gripper."""


class StateReading(nn.Module):
    """A reader, the tokens that it reads, and their labels."""

    def __init__(
        self, encoder: Encoder, data: TrajectoryData, latents: LatentsConfig, config: StateReaderConfig
    ) -> None:
        """Raises UserError for a recipe that lacks what a reader needs."""
        super().__init__()
        window = data.window
        require(
            window.hand is not None and not window.pixels,
            "stages.state reads squares around the hand from a cache of tokens; "
            "give data.window.hand, and data.window.pixels: false",
        )
        require(
            len(data.schema.gripper) == 1,
            f"stages.state reads one gripper, but schema.gripper names {len(data.schema.gripper)} dimensions",
        )
        self.reader = StateReader(config, encoder.config.width)
        self.data = data
        self.hands = FrameTokens(encoder, data, latents, HandWindows)
        self.closings: dict[str, list[Float[Tensor, " rows"]]] = {}

    def standardise(self) -> None:
        """Scale the readings by the hands of the training data."""
        windows = [HandWindows(data, self.data.window) for data in self.data.train_data]
        self.reader.standardise(torch.cat([each.seen(camera) for each in windows for camera in each.cameras]))

    def losses(self, batch: TrajectoryBatch, tokens: Float[Tensor, "b n d"], split: str) -> ReadingLosses:
        """What is minimised. tokens: Those of whole pictures, in (T H W) order."""
        labels = self.labels(batch, split)
        ray = self.reader.ray(frames_of(tokens, batch))
        logits = self.reader.gripper(frames_of(self.hands(batch, split), batch))
        return ReadingLosses(
            place=smooth_l1_loss(ray, self.reader.ray_of(labels.seen), beta=HUBER),
            closing=binary_cross_entropy_with_logits(logits, labels.closing),
        )

    @torch.no_grad()
    def errors(
        self, batch: TrajectoryBatch, tokens: Float[Tensor, "b n d"], split: str
    ) -> dict[str, Float[Tensor, ""]]:
        """Centimetres between the read and the true hand, beside those of always reading the same place, and
        the share of frames whose gripper is read wrongly."""
        labels = self.labels(batch, split)
        hand = self.reader.hand(frames_of(tokens, batch))
        always = self.reader.hand_of(torch.zeros_like(hand))
        closes = self.reader.gripper(frames_of(self.hands(batch, split), batch)) > 0
        return {
            "centimetres": 100 * (hand - labels.seen).norm(dim=-1).mean(),
            "always_centimetres": 100 * (always - labels.seen).norm(dim=-1).mean(),
            "gripper_wrong": (closes != labels.closing.bool()).float().mean(),
        }

    def labels(self, batch: TrajectoryBatch, split: str) -> Labels:
        """The truth about every frame of a batch, frame after frame."""
        position = list(self.data.schema.position)
        seen = in_camera(batch.states[..., position], batch.extrinsics)
        return Labels(rearrange(seen, "b t xyz -> (b t) xyz"), self.closing(batch, split))

    def closing(self, batch: TrajectoryBatch, split: str) -> Float[Tensor, " n"]:
        """Whether the gripper closes or is closed: looked up by row, since it depends on earlier rows."""
        datasets = self.datasets(split)
        if split not in self.closings:
            self.closings[split] = [closing_of(data) for data in datasets]
        windows = zip(batch.source.tolist(), batch.episode.tolist(), batch.rows.cpu(), strict=True)
        labels = [
            self.closings[split][source][int(datasets[source].first[episode]) + rows]
            for source, episode, rows in windows
        ]
        return torch.cat(labels).to(batch.states.device)

    def datasets(self, split: str) -> list[Episodes]:
        """The datasets of a split, as batches number them."""
        return self.data.train_data if split == "train" else [self.data.val_data]


def frames_of(tokens: Float[Tensor, "b n d"], batch: TrajectoryBatch) -> Float[Tensor, "bt m d"]:
    """Tokens of windows as those of single frames."""
    return rearrange(tokens, "b (t n) d -> (b t) n d", t=batch.states.shape[1])


def closing_of(data: Episodes) -> Float[Tensor, " rows"]:
    """1 where the measured gripper last closed, 0 where it last opened, for every row of a dataset."""
    (gripper,) = data.schema.gripper
    closed = data.states[:, gripper]
    return torch.cat([last_changes(closed[data.rows(episode)]) for episode in range(len(data))])


def last_changes(closed: Float[Tensor, " t"]) -> Float[Tensor, " t"]:
    """The same of one episode. Before the first change: whether the gripper is more than half closed."""
    change = closed.diff(prepend=closed[:1])
    rows = torch.arange(len(closed))
    # Each row looks back at the last one with a change.
    last = torch.where(change.abs() > CHANGE, rows, 0).cummax(dim=0).values
    return torch.where(last > 0, change[last] > 0, closed[0] > 0.5).float()

"""Clips that end some time before an action, with the classes of that action (V-JEPA 2, sections 6 and D).

A sample holds two clips of equal length. One ends `tau` seconds before the foreseen moment, the other ends at
that moment. Samples of training are a pure function of (seed, sample number).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.benchmarks.actions import Action, Vocabulary
from vjepa.data.clips import ClipConfig, choose_crop, stack_clips
from vjepa.data.decode import Change, open_video
from vjepa.data.decode_error import DecodeError
from vjepa.data.loader import draw_sample
from vjepa.data.sampling import Mixture
from vjepa.data.transforms import clip_crop
from vjepa.errors import require

Anchor = Literal["start", "end"]


@dataclass(frozen=True)
class Ahead:
    """How far ahead of the clip's end the foreseen moment lies, and where in the action."""

    # Defaults are those of the paper on EPIC-KITCHENS-100 (section D).
    tau: tuple[float, float] = (0.25, 1.75)
    """Training: seconds between the clip's end and the moment, drawn evenly."""
    point: tuple[float, float] = (0.0, 0.25)
    """Training: the share of the action, from the anchor, that has passed at the moment; drawn evenly."""
    evaluation_tau: float = 1.0
    """Evaluation: seconds between the clip's end and the anchor itself."""
    anchor: Anchor = "start"
    """The action's start, as the paper says, or its end, from which the released code counts back (so that it
    may show most of the action)."""

    def __post_init__(self) -> None:
        seconds = f"ahead.tau={self.tau} are the least and the most seconds; neither is negative"
        require(0 <= self.tau[0] <= self.tau[1], seconds)
        shares = f"ahead.point={self.point} are the first and the last share of the action"
        require(0 <= self.point[0] <= self.point[1] <= 1, f"{shares}; give numbers from 0 to 1")
        seconds = f"ahead.evaluation_tau={self.evaluation_tau} is in seconds; give 0 or more"
        require(self.evaluation_tau >= 0, seconds)

    def moment(self, action: Action, share: float) -> float:
        """Seconds of the video at which a share of the action has passed, counted from the anchor."""
        # Counted back from the end as in the released code, the moments of training lie in the last quarter.
        offset = share * (action.stop - action.start)
        return action.start + offset if self.anchor == "start" else action.stop - offset


class AnticipationSample(NamedTuple):
    """One action: two clips of equal length, or None if the file cannot be decoded."""

    clip: UInt8[Tensor, "t c h w"] | None
    shown: UInt8[Tensor, "t c h w"] | None
    tau: float
    labels: tuple[int, int, int]
    index: int
    bad: list[str]


class AnticipationBatch(NamedTuple):
    clip: UInt8[Tensor, "b t c h w"]
    """Ends `tau` before the moment."""
    shown: UInt8[Tensor, "b t c h w"]
    """Ends at the moment itself: nothing has to be foreseen."""
    tau: Float[Tensor, " b"]
    """Seconds."""
    labels: Int[Tensor, "b 3"]
    """Verb, noun, pair; classes that training never shows are numbered behind those that it shows."""
    index: Int[Tensor, " b"]
    bad: list[str]
    """Files that failed, each with its reason, replaced or not."""
    lost: int
    """Samples that are missing from this batch."""


def collate_anticipation(samples: Sequence[AnticipationSample]) -> AnticipationBatch:
    """A batch of the decodable samples, which may be none."""
    good = [sample for sample in samples if sample.clip is not None]
    return AnticipationBatch(
        clip=stack_clips([sample.clip for sample in good]),
        shown=stack_clips([sample.shown for sample in good]),
        tau=torch.tensor([sample.tau for sample in good], dtype=torch.float32),
        # Two axes even without any sample, so that callers can split the labels by kind.
        labels=torch.tensor([sample.labels for sample in good], dtype=torch.long).view(-1, 3),
        index=torch.tensor([sample.index for sample in good], dtype=torch.long),
        bad=[reason for sample in samples for reason in sample.bad],
        lost=len(samples) - len(good),
    )


def frames_before(
    action: Action,
    ends: Sequence[float],
    clip: ClipConfig,
    change: Change | None = None,
) -> list[UInt8[Tensor, "t c h w"]]:
    """Clips that end at the given seconds; the last frame of each is 1 / clip.fps seconds earlier.

    `change` crops the frames. If a clip begins before the video, `clip.short` decides: DecodeError is raised,
    or the video's first frame is repeated. Raises DecodeError for a file that cannot be decoded too."""
    with open_video(action.path) as video:
        # All negative. Time 0 is the end itself, of which a clip that ends there shows nothing.
        offsets = (np.arange(clip.frames) - clip.frames) / clip.fps
        missing = video.start - (min(ends) + offsets[0])
        # The earliest clip decides for both. A microsecond is forgiven, as in `clip_times`.
        if clip.short == "refuse" and missing > 1e-6:
            reason = (
                f"a clip begins {missing:.2f} s before the video; clip.short=hold repeats its first frame"
            )
            raise DecodeError(action.path, reason)

        # Half a frame before the end is safely within the last frame.
        latest = video.end - 0.5 / video.fps
        times = np.concatenate([np.clip(end + offsets, video.start, latest) for end in ends])
        # One call for all clips, so that frames that they share are decoded once.
        frames = torch.from_numpy(video.frames(times, change))
    return list(rearrange(frames, "(s t) h w c -> s t c h w", s=len(ends)))


class AnticipationClips(Dataset):
    """Every action once, by row. With a seed, training samples without end: sample k depends on (seed, k)."""

    def __init__(
        self,
        actions: Sequence[Action],
        classes: Vocabulary,
        clip: ClipConfig,
        ahead: Ahead,
        seed: int | None = None,
    ) -> None:
        self.actions = actions
        self.classes = classes
        self.clip = clip
        self.ahead = ahead
        self.training = seed is not None  # 0 is a seed too
        # A mixture of one source: it shuffles the actions, and names the replacement of a bad one.
        self.mixture = Mixture([len(actions)], [1.0], seed or 0)

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, k: int) -> AnticipationSample:
        bad = []
        if self.training:
            sample, bad = draw_sample(self.mixture, k, lambda source, i, rng: self.read(i, rng))
        else:
            try:
                sample = self.read(k, None)
            except DecodeError as error:
                sample = None
                bad = [str(error)]

        if sample is None:
            return AnticipationSample(None, None, 0.0, (-1, -1, -1), k, bad)
        return sample._replace(index=k, bad=bad)

    def read(self, i: int, rng: np.random.Generator | None) -> AnticipationSample:
        """Both clips of an action. Raises DecodeError.

        rng: draws the moment, tau and the crop in training; None in evaluation, where all are fixed.
        """
        action = self.actions[i]
        tau = self.ahead.evaluation_tau
        share = 0.0
        if rng is not None:
            # The order of draws is fixed: another one would change every sample of every seed.
            tau = float(rng.uniform(*self.ahead.tau))
            share = float(rng.uniform(*self.ahead.point))
        moment = self.ahead.moment(action, share)
        # One crop for both, so that they differ in time alone.
        square = clip_crop(lambda height, width: choose_crop(height, width, self.clip, rng), self.clip.size)
        clip, shown = frames_before(action, (moment - tau, moment), self.clip, square)
        return AnticipationSample(clip, shown, tau, self.classes.labels(action), i, [])

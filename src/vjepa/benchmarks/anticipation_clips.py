"""Anticipation clips."""

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
from vjepa.data.clips import ATTEMPTS, ClipConfig
from vjepa.data.decode import DecodeError, open_video
from vjepa.data.sampling import Mixture
from vjepa.data.transforms import centre_box, crop, random_box
from vjepa.errors import require

Anchor = Literal["start", "end"]


@dataclass(frozen=True)
class Ahead:
    """How far ahead of the clip's end the foreseen moment lies, and where in the action."""

    tau: tuple[float, float] = (0.25, 1.75)
    """Training: seconds between the clip's end and the moment, drawn evenly."""
    point: tuple[float, float] = (0.0, 0.25)
    """Training: where in the action the moment lies, as a share of its length from the anchor, drawn evenly."""
    evaluation_tau: float = 1.0
    """Evaluation: seconds between the clip's end and the anchor itself."""
    anchor: Anchor = "start"
    """The action's start, as the paper says, or its end, from which the released code counts back (so that it may show most
    of the action)."""

    def __post_init__(self) -> None:
        (soon, late), (first, last) = self.tau, self.point
        require(
            0 <= soon <= late, f"ahead.tau={self.tau} are the least and the most seconds; neither is negative"
        )
        shares = f"ahead.point={self.point} are the first and the last share of the action; give numbers from 0 to 1"
        require(0 <= first <= last <= 1, shares)
        require(
            self.evaluation_tau >= 0,
            f"ahead.evaluation_tau={self.evaluation_tau} is in seconds; give 0 or more",
        )

    def moment(self, action: Action, share: float) -> float:
        length = action.stop - action.start
        return action.start + share * length if self.anchor == "start" else action.stop - share * length


class AnticipationSample(NamedTuple):
    """One action: two clips of equal length, or None where the file cannot be decoded."""

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
    lost: int


def collate(samples: Sequence[AnticipationSample]) -> AnticipationBatch:
    good = [sample for sample in samples if sample.clip is not None]
    empty = torch.empty(0, 1, 3, 1, 1, dtype=torch.uint8)
    clip, shown = (
        torch.stack([getattr(s, name) for s in good]) if good else empty for name in ("clip", "shown")
    )
    labels = torch.tensor([sample.labels for sample in good], dtype=torch.long).view(-1, 3)
    tau, index = torch.tensor([s.tau for s in good]), torch.tensor([s.index for s in good], dtype=torch.long)
    bad = [reason for sample in samples for reason in sample.bad]
    return AnticipationBatch(clip, shown, tau.float(), labels, index, bad, len(samples) - len(good))


def frames_before(action: Action, ends: Sequence[float], clip: ClipConfig) -> list[UInt8[Tensor, "t c h w"]]:
    """Clips that end at the given seconds, last frame just before. What begins before the video is refused, or its first frame
    stands still, as `clip.short` says. Raises DecodeError."""
    with open_video(action.path) as video:
        back = (np.arange(clip.frames) - clip.frames) / clip.fps
        early = video.start - (min(ends) + back[0])
        if clip.short == "refuse" and early > 1e-6:
            reason = f"a clip begins {early:.2f} s before the video; clip.short=hold repeats its first frame"
            raise DecodeError(action.path, reason)
        latest = video.end - 0.5 / video.fps
        times = np.concatenate([np.clip(end + back, video.start, latest) for end in ends])
        frames = torch.from_numpy(video.frames(times))
    return list(rearrange(frames, "(s t) h w c -> s t c h w", s=len(ends)))


class AnticipationClips(Dataset):
    """Actions by row. With a seed, draws without end for training: sample k is a function of (seed, k)."""

    def __init__(
        self,
        actions: Sequence[Action],
        known: Vocabulary,
        clip: ClipConfig,
        ahead: Ahead,
        seed: int | None = None,
    ) -> None:
        self.actions, self.known, self.clip, self.ahead, self.seed = actions, known, clip, ahead, seed
        self.mixture = Mixture([len(actions)], [1.0], seed or 0)

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, k: int) -> AnticipationSample:
        return self.look(k, k, None, []) if self.seed is None else self.draw(k)

    def draw(self, k: int) -> AnticipationSample:
        """A training sample; a file that cannot be decoded is replaced by another, a bounded number of times."""
        bad: list[str] = []
        for attempt in range(ATTEMPTS):
            _, i = self.mixture(k) if attempt == 0 else self.mixture.replacement(k, attempt)
            rng = np.random.Generator(
                np.random.Philox(key=np.array([self.seed, k], np.uint64), counter=attempt)
            )
            found = self.look(i, k, rng, bad)
            if found.clip is not None:
                return found
            bad = found.bad
        return found

    def look(self, i: int, index: int, rng: np.random.Generator | None, bad: list[str]) -> AnticipationSample:
        action, ahead = self.actions[i], self.ahead
        tau = ahead.evaluation_tau if rng is None else float(rng.uniform(*ahead.tau))
        moment = ahead.moment(action, 0.0 if rng is None else float(rng.uniform(*ahead.point)))
        labels = self.known.labels(action)
        try:
            both = frames_before(action, (moment - tau, moment), self.clip)
        except DecodeError as error:
            return AnticipationSample(None, None, tau, labels, index, [*bad, str(error)])
        height, width = both[0].shape[-2:]
        box = centre_box(height, width, 1.0)
        if rng is not None:
            box = random_box(height, width, self.clip.scale, self.clip.aspect, rng)
        flip = rng is not None and bool(rng.random() < self.clip.flip)
        return AnticipationSample(
            *(crop(frames, box, self.clip.size, flip) for frames in both), tau, labels, index, bad
        )

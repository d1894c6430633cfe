"""Clips that end some time before an action: what is seen, how long before, and what happens then (V-JEPA 2, sections 6, D)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import lightning as L
import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from vjepa.data.actions import Action, Noun, Vocabulary, read_actions, vocabulary
from vjepa.data.clips import ATTEMPTS, ClipConfig
from vjepa.data.decode import DecodeError, open_video
from vjepa.data.modules import GlobalOrder, ResumableLoader, ignore_interrupt
from vjepa.data.sampling import Mixture
from vjepa.data.targets import by_path, refuse_shared
from vjepa.data.transforms import centre_box, crop, random_box
from vjepa.errors import refuse_unless
from vjepa.locate import locate

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
        refuse_unless(0 <= soon <= late, f"ahead.tau={self.tau} are the least and the most seconds; neither is negative")
        shares = f"ahead.point={self.point} are the first and the last share of the action; give numbers from 0 to 1"
        refuse_unless(0 <= first <= last <= 1, shares)
        refuse_unless(self.evaluation_tau >= 0, f"ahead.evaluation_tau={self.evaluation_tau} is in seconds; give 0 or more")

    def moment(self, action: Action, share: float) -> float:
        length = action.stop - action.start
        return action.start + share * length if self.anchor == "start" else action.stop - share * length


class Foreseen(NamedTuple):
    """One action: two clips of equal length, or None where the file cannot be decoded."""

    clip: UInt8[Tensor, "t c h w"] | None
    shown: UInt8[Tensor, "t c h w"] | None
    tau: float
    labels: tuple[int, int, int]
    index: int
    bad: list[str]


class ForeseenBatch(NamedTuple):
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


def collate(samples: Sequence[Foreseen]) -> ForeseenBatch:
    good = [sample for sample in samples if sample.clip is not None]
    empty = torch.empty(0, 1, 3, 1, 1, dtype=torch.uint8)
    clip, shown = (torch.stack([getattr(s, name) for s in good]) if good else empty for name in ("clip", "shown"))
    labels = torch.tensor([sample.labels for sample in good], dtype=torch.long).view(-1, 3)
    tau, index = torch.tensor([s.tau for s in good]), torch.tensor([s.index for s in good], dtype=torch.long)
    bad = [reason for sample in samples for reason in sample.bad]
    return ForeseenBatch(clip, shown, tau.float(), labels, index, bad, len(samples) - len(good))


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


class ForeseenClips(Dataset):
    """Actions by row. With a seed, draws without end for training: sample k is a function of (seed, k)."""

    def __init__(
        self, actions: Sequence[Action], known: Vocabulary, clip: ClipConfig, ahead: Ahead, seed: int | None = None
    ) -> None:
        self.actions, self.known, self.clip, self.ahead, self.seed = actions, known, clip, ahead, seed
        self.mixture = Mixture([len(actions)], [1.0], seed or 0)

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, k: int) -> Foreseen:
        return self.look(k, k, None, []) if self.seed is None else self.draw(k)

    def draw(self, k: int) -> Foreseen:
        """A training sample; a file that cannot be decoded is replaced by another, a bounded number of times."""
        bad: list[str] = []
        for attempt in range(ATTEMPTS):
            _, i = self.mixture(k) if attempt == 0 else self.mixture.replacement(k, attempt)
            rng = np.random.Generator(np.random.Philox(key=np.array([self.seed, k], np.uint64), counter=attempt))
            found = self.look(i, k, rng, bad)
            if found.clip is not None:
                return found
            bad = found.bad
        return found

    def look(self, i: int, index: int, rng: np.random.Generator | None, bad: list[str]) -> Foreseen:
        action, ahead = self.actions[i], self.ahead
        tau = ahead.evaluation_tau if rng is None else float(rng.uniform(*ahead.tau))
        moment = ahead.moment(action, 0.0 if rng is None else float(rng.uniform(*ahead.point)))
        labels = self.known.labels(action)
        try:
            both = frames_before(action, (moment - tau, moment), self.clip)
        except DecodeError as error:
            return Foreseen(None, None, tau, labels, index, [*bad, str(error)])
        height, width = both[0].shape[-2:]
        box = centre_box(height, width, 1.0)
        if rng is not None:
            box = random_box(height, width, self.clip.scale, self.clip.aspect, rng)
        flip = rng is not None and bool(rng.random() < self.clip.flip)
        return Foreseen(*(crop(frames, box, self.clip.size, flip) for frames in both), tau, labels, index, bad)


class AnticipationData(L.LightningDataModule):
    """Actions for training, validation and test."""

    def __init__(
        self,
        train: str,
        val: str,
        test: str,
        videos: str | None = None,
        clip: ClipConfig = ClipConfig(frames=32, fps=8.0, short="hold"),  # noqa: B008  frozen
        ahead: Ahead = Ahead(),
        noun: Noun = "place",
        batch_size: int = 16,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        """
        Args:
            train: EPIC-KITCHENS-100 annotations (.csv), or a demo world's events.jsonl.
            val: The same for validation.
            test: The same for testing, looked at once, at the end.
            videos: Folder of EPIC-KITCHENS' videos.
            clip: What one clip is.
            ahead: How far ahead the foreseen moment lies.
            noun: Demo world: what tells objects apart.
            batch_size: Actions per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order, the moments and the crops.
        """
        super().__init__()
        sentence = f"data.batch_size={batch_size} must be positive, data.workers={workers} not negative"
        refuse_unless(batch_size > 0 and workers >= 0, sentence)
        refuse_unless(clip.jitter, "data.clip.jitter=false has no effect: data.ahead says when training clips end")
        self.refuse_other_source(train.endswith(".csv"), videos, noun, clip.flip)
        self.files, self.videos, self.noun = {"train": train, "val": val, "test": test}, videos, noun
        self.clip, self.ahead, self.batch_size, self.workers = clip, ahead, batch_size, workers
        self.max_bad_share, self.seed = max_bad_share, seed

    def refuse_other_source(self, epic: bool, videos: str | None, noun: Noun, flip: float) -> None:
        """Settings that mean nothing to the kind of annotations that is read."""
        refuse_unless(not epic or noun == "place", f"data.noun={noun} is of the demo world; EPIC-KITCHENS has nouns of its own")
        refuse_unless(epic or videos is None, f"data.videos={videos} is for EPIC-KITCHENS; a demo world's log names its files")
        mirrored = noun == "place" and flip > 0 and not epic
        refuse_unless(not mirrored, f"data.clip.flip={flip} makes left of right, which data.noun=place tells apart; use 0")

    def setup(self, stage: str) -> None:
        """Read everything, so that what is malformed, or is in two splits, stops the run before it starts."""
        spans = {split: by_path((os.path.realpath(action.path), action.start, action.stop) for action in actions)
                 for split, actions in self.actions.items()}  # fmt: skip
        refuse_shared(spans)

    @cached_property
    def actions(self) -> dict[str, list[Action]]:
        folder = locate(self.videos) if self.videos else None
        return {split: read_actions(locate(file), folder, self.noun) for split, file in self.files.items()}

    @cached_property
    def known(self) -> Vocabulary:
        return vocabulary(self.actions["train"])

    @cached_property
    def asked(self) -> Vocabulary:
        """The classes of training, and behind them those that only validation or test actions have."""
        return self.known.widened([*self.actions["val"], *self.actions["test"]])

    @cached_property
    def frequencies(self) -> tuple[Float[Tensor, " classes"], ...]:
        """How often training shows each verb, noun and pair."""
        labels = torch.tensor([self.known.labels(action) for action in self.actions["train"]]).T
        columns = zip(labels, self.known.sizes, strict=True)
        return tuple(torch.bincount(label, minlength=size).float() for label, size in columns)

    def shown(self, split: str) -> tuple[list[int], list[int], list[int]]:
        """Verbs, nouns and pairs of a split, numbered as in `asked`. Raises UserError if training shows none of them."""
        labels = np.array([self.asked.labels(action) for action in self.actions[split]])
        found = tuple(np.unique(column).tolist() for column in labels.T)
        shared = all(min(classes) < size for classes, size in zip(found, self.known.sizes, strict=True))
        refuse_unless(shared, f"{self.files[split]} shares no action with {self.files['train']}: nothing can be foreseen")
        return found

    def train_dataloader(self) -> ResumableLoader:
        clips = ForeseenClips(self.actions["train"], self.known, self.clip, self.ahead, self.seed)
        world, accumulated = self.trainer.world_size, self.trainer.accumulate_grad_batches
        steps = max(1, len(clips) // (self.batch_size * world * accumulated))
        order = GlobalOrder(steps * accumulated, self.batch_size, self.trainer.global_rank, world)
        return ResumableLoader(clips, batch_sampler=order, **self.loader_settings())

    def val_dataloader(self) -> DataLoader:
        return self.evaluation_loader("val", self.ahead)

    def test_dataloader(self) -> list[DataLoader]:
        """Validation actions, on which a head is chosen; test actions from the recipe's anchor, then from the other one."""
        other: Anchor = "end" if self.ahead.anchor == "start" else "start"
        ways = (self.ahead, Ahead(evaluation_tau=self.ahead.evaluation_tau, anchor=other))
        return [self.val_dataloader(), *(self.evaluation_loader("test", ahead) for ahead in ways)]

    def evaluation_loader(self, split: str, ahead: Ahead) -> DataLoader:
        """Every action exactly once over all ranks."""
        clips = ForeseenClips(self.actions[split], self.asked, self.clip, ahead)
        share = Subset(clips, range(self.trainer.global_rank, len(clips), self.trainer.world_size))
        return DataLoader(share, batch_size=self.batch_size, **self.loader_settings())

    def loader_settings(self) -> dict:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        return {"num_workers": self.workers, "collate_fn": collate, "worker_init_fn": ignore_interrupt, "pin_memory": on_gpu}

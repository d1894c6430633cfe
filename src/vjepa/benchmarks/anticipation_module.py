"""Clips that end some time before an action: what is seen, how long before, and what happens then (V-JEPA 2, sections 6, D)."""

import os
from functools import cached_property
from pathlib import Path

import lightning as L
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from vjepa.benchmarks.action_files import Noun, read_actions
from vjepa.benchmarks.actions import Action, Vocabulary, vocabulary
from vjepa.benchmarks.anticipation_clips import (
    Ahead,
    Anchor,
    AnticipationClips,
    collate,
)
from vjepa.data.clips import ClipConfig
from vjepa.data.loader import GlobalOrder, ResumableLoader, ignore_interrupt
from vjepa.data.targets import by_path, check_disjoint
from vjepa.errors import require


class AnticipationData(L.LightningDataModule):
    """Actions for training, validation and test."""

    def __init__(
        self,
        train: str,
        val: str,
        test: str,
        videos: str | None = None,
        clip: ClipConfig = ClipConfig(frames=32, fps=8.0, short="hold"),
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
        require(batch_size > 0 and workers >= 0, sentence)
        require(clip.jitter, "data.clip.jitter=false has no effect: data.ahead says when training clips end")
        self.check_source(train.endswith(".csv"), videos, noun, clip.flip)
        self.files, self.videos, self.noun = {"train": train, "val": val, "test": test}, videos, noun
        self.clip, self.ahead, self.batch_size, self.workers = clip, ahead, batch_size, workers
        self.max_bad_share, self.seed = max_bad_share, seed

    def check_source(self, epic: bool, videos: str | None, noun: Noun, flip: float) -> None:
        """Settings that mean nothing to the kind of annotations that is read."""
        require(
            not epic or noun == "place",
            f"data.noun={noun} is of the demo world; EPIC-KITCHENS has nouns of its own",
        )
        require(
            epic or videos is None,
            f"data.videos={videos} is for EPIC-KITCHENS; a demo world's log names its files",
        )
        mirrored = noun == "place" and flip > 0 and not epic
        require(
            not mirrored,
            f"data.clip.flip={flip} makes left of right, which data.noun=place tells apart; use 0",
        )

    def setup(self, stage: str) -> None:
        """Read everything, so that what is malformed, or is in two splits, stops the run before it starts."""
        spans = {split: by_path((os.path.realpath(action.path), action.start, action.stop) for action in actions)
                 for split, actions in self.actions.items()}  # fmt: skip
        check_disjoint(spans)

    @cached_property
    def actions(self) -> dict[str, list[Action]]:
        folder = self.videos if self.videos else None
        return {split: read_actions(Path(file), folder, self.noun) for split, file in self.files.items()}

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
        require(
            shared,
            f"{self.files[split]} shares no action with {self.files['train']}: nothing can be foreseen",
        )
        return found

    def train_dataloader(self) -> ResumableLoader:
        clips = AnticipationClips(self.actions["train"], self.known, self.clip, self.ahead, self.seed)
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
        clips = AnticipationClips(self.actions[split], self.asked, self.clip, ahead)
        share = Subset(clips, range(self.trainer.global_rank, len(clips), self.trainer.world_size))
        return DataLoader(share, batch_size=self.batch_size, **self.loader_settings())

    def loader_settings(self) -> dict:
        on_gpu = self.trainer.strategy.root_device.type == "cuda"
        return {
            "num_workers": self.workers,
            "collate_fn": collate,
            "worker_init_fn": ignore_interrupt,
            "pin_memory": on_gpu,
        }

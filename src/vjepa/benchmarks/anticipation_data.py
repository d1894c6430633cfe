"""The data module of anticipation: it reads annotated actions and gives clips that end before them."""

import os
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import DataLoader

from vjepa.benchmarks.action_files import Noun, read_actions
from vjepa.benchmarks.actions import Action, Vocabulary, vocabulary
from vjepa.benchmarks.anticipation_clips import Ahead, Anchor, AnticipationClips, collate_anticipation
from vjepa.data.clips import ClipConfig
from vjepa.data.digest import DataDigest, file_digest, files_digest, spread
from vjepa.data.module import ResumableData
from vjepa.data.targets import check_disjoint, spans_by_path
from vjepa.errors import require


class AnticipationData(ResumableData):
    """Actions for training, validation and test."""

    collate = staticmethod(collate_anticipation)

    def __init__(
        self,
        train: str,
        val: str,
        test: str,
        videos: str | None = None,
        # As in the paper (section D). An action at the beginning of a video has too little video before it,
        # so the first frame is held.
        clip: ClipConfig = ClipConfig(frames=32, fps=8.0, short="hold"),
        ahead: Ahead = Ahead(),
        noun: Noun = "place",
        batch_size: int = 16,
        workers: int = 8,
        max_bad_share: float = 0.05,
        seed: int = 0,
        timeout: float = 300.0,
    ) -> None:
        """
        Args:
            train: EPIC-KITCHENS-100 annotations (.csv), or a demo world's events.jsonl.
            val: The same for validation.
            test: The same for testing, looked at once, at the end.
            videos: Folder of EPIC-KITCHENS' videos.
            clip: What one clip is.
            ahead: How far ahead the foreseen moment lies.
            noun: Only for a demo world: which property of an object is its noun.
            batch_size: Actions per device and step.
            workers: Processes that decode, per device.
            max_bad_share: Training stops once more than this share of draws could not be decoded.
            seed: Decides the order, the moments and the crops.
            timeout: Seconds that a batch, or a single file, may take before the run ends with its name.
        """
        super().__init__(batch_size, workers, max_bad_share, seed, timeout)
        require(clip.jitter, "data.clip.jitter=false has no effect: data.ahead says when training clips end")
        check_annotations(train.lower().endswith(".csv"), videos, noun, clip.flip)
        self.files = {"train": train, "val": val, "test": test}
        self.videos = videos
        self.noun = noun
        self.clip = clip
        self.ahead = ahead

    def setup(self, stage: str) -> None:
        """Read everything, so that a malformed file or an action in two splits is an error before the run."""
        spans = {}
        for split, actions in self.actions.items():
            # Two names of one file are one video.
            times = ((os.path.realpath(action.path), action.start, action.stop) for action in actions)
            spans[split] = spans_by_path(times)
        check_disjoint(spans)

    @cached_property
    def actions(self) -> dict[str, list[Action]]:
        """The actions of each split."""
        folder = self.videos or None
        return {split: read_actions(Path(file), folder, self.noun) for split, file in self.files.items()}

    @cached_property
    def training_classes(self) -> Vocabulary:
        return vocabulary(self.actions["train"])

    @cached_property
    def all_classes(self) -> Vocabulary:
        """The classes of training, and behind them those that only validation or test actions have."""
        return self.training_classes.extended([*self.actions["val"], *self.actions["test"]])

    @cached_property
    def class_counts(self) -> tuple[Float[Tensor, " classes"], ...]:
        """How often training shows each verb, noun and pair."""
        labels = torch.tensor([self.training_classes.labels(action) for action in self.actions["train"]])
        columns = zip(labels.T, self.training_classes.sizes, strict=True)
        return tuple(torch.bincount(column, minlength=size).float() for column, size in columns)

    def classes_in(self, split: str) -> tuple[list[int], ...]:
        """The verbs, nouns and pairs of a split, numbered as in `all_classes`.

        Raises UserError if the split and training share no verb, no noun or no pair."""
        labels = np.array([self.all_classes.labels(action) for action in self.actions[split]])
        classes = tuple(np.unique(column).tolist() for column in labels.T)
        # Classes that training never shows are numbered from there on.
        sizes = self.training_classes.sizes
        shared = all(min(numbers) < size for numbers, size in zip(classes, sizes, strict=True))
        sentence = f"{self.files[split]} shares no action with {self.files['train']}: nothing can be foreseen"
        require(shared, sentence)
        return classes

    def trained_on(self) -> dict:
        clip = {"frames": self.clip.frames, "fps": self.clip.fps, "size": self.clip.size}
        return {"clip": clip, "data": file_digest(Path(self.files["train"]))}

    def data_digests(self) -> dict[str, DataDigest]:
        return {split: self.data_digest(split) for split in self.actions}

    def data_digest(self, split: str) -> DataDigest:
        """What the annotations and the videos of a split are now, for a run that goes on."""
        actions = self.actions[split]
        videos = [actions[i].path for i in spread(len(actions))]
        file = self.files[split]
        return DataDigest(file, len(actions), "actions", file_digest(Path(file)), *files_digest(videos))

    def training_samples(self) -> AnticipationClips:
        actions = self.actions["train"]
        # A training label must be one that the probe can answer, so no class of another split.
        return AnticipationClips(actions, self.training_classes, self.clip, self.ahead, self.seed)

    def validation_samples(self) -> AnticipationClips:
        return self.evaluation_samples("val", self.ahead)

    def evaluation_samples(self, split: str, ahead: Ahead) -> AnticipationClips:
        """Every action of a split once."""
        return AnticipationClips(self.actions[split], self.all_classes, self.clip, ahead)

    def test_dataloader(self) -> list[DataLoader]:
        """Loaders of validation actions, of test actions, and of test actions from the other anchor.

        A head is chosen on the first and reported on the others."""
        # The paper counts from the action's start, the released code from its end; both scores are reported.
        other_anchor: Anchor = "end" if self.ahead.anchor == "start" else "start"
        other = Ahead(evaluation_tau=self.ahead.evaluation_tau, anchor=other_anchor)
        samples = [self.evaluation_samples("test", ahead) for ahead in (self.ahead, other)]
        return [self.val_dataloader(), *map(self.evaluation_loader, samples)]


def check_annotations(epic: bool, videos: str | None, noun: Noun, flip: float) -> None:
    """Raise UserError for settings that do not apply to EPIC-KITCHENS, or not to a demo world.

    epic: whether the annotations are those of EPIC-KITCHENS. flip: the probability that a clip is mirrored.
    """
    sentence = f"data.noun={noun} is of the demo world; EPIC-KITCHENS has nouns of its own"
    require(not epic or noun == "place", sentence)
    sentence = f"data.videos={videos} is for EPIC-KITCHENS; a demo world's log names its files"
    require(epic or videos is None, sentence)
    mirrored = noun == "place" and flip > 0 and not epic
    sentence = f"data.clip.flip={flip} makes left of right, which data.noun=place tells apart; use 0"
    require(not mirrored, sentence)

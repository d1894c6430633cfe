"""Mean-class recall and the focal loss: how anticipation is scored and trained.

Recall at k is the share of a class's clips for which the class is among the k most likely answers. Its mean
over classes gives rare classes the same weight as frequent ones. It is the measure of the EPIC-KITCHENS-100
anticipation challenge (arXiv 2006.13256, section 4), with k = 5. A probe cannot answer a class that training
never shows. There are two rules for such classes:

missed    They count, with a recall of 0. The challenge's public scorers do the same: they average over the
          labels of the split. This is the default, because every clip then counts.
left_out  Only classes that training and the split both have count, and only they are among the k answers. The
          released code of V-JEPA 2 does this. The numbers are higher, and can be compared only with numbers
          under the same rule.
"""

from vjepa import torchvision_ops  # noqa: F401  before torchmetrics imports torchvision

# isort: split
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot
from torchmetrics import Metric
from torchvision.ops import sigmoid_focal_loss

Unseen = Literal["missed", "left_out"]


class MeanClassRecall(Metric):
    """Recall at k, averaged over classes, exact over processes: hits and clips are summed by class.

    Args:
        known: Number of classes of training, which can be answered; they are numbered from 0.
        shown: Classes that occur in the split. Those from `known` on occur in no training clip.
        k: Answers per clip.
        unseen: The rule for classes that training never shows.
        heads: Number of probes; each has a recall of its own.
    """

    full_state_update = False

    def __init__(
        self, known: int, shown: Sequence[int], k: int = 5, unseen: Unseen = "missed", heads: int = 1
    ) -> None:
        super().__init__()
        both = [number for number in shown if number < known]
        left_out = unseen == "left_out"
        answers = torch.tensor(both if left_out else range(known))
        counted = torch.tensor(both if left_out else shown)
        # Buffers move to the device of the logits. The recipe decides them, so checkpoints do not hold them.
        self.register_buffer("answers", answers, persistent=False)
        self.register_buffer("counted", counted, persistent=False)

        self.k = min(k, len(answers))
        self.share = 1.0 if left_out else len(both) / len(shown)
        # Labels of the split can be larger than those of training.
        classes = max(known, *shown, 0) + 1
        self.add_state("hits", default=torch.zeros(heads, classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("seen", default=torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    @property
    def chance(self) -> float:
        """The recall of random answers: classes that cannot be answered contribute 0."""
        return self.share * self.k / len(self.answers)

    def update(self, logits: Float[Tensor, "p b known"], label: Int[Tensor, " b"]) -> None:
        # As float32, because logits of low precision have many ties.
        top = logits[..., self.answers].float().topk(self.k, dim=-1)
        hit = (self.answers[top.indices] == label[:, None]).any(dim=-1)
        self.seen += torch.bincount(label, minlength=len(self.seen))
        self.hits.index_add_(1, label, hit.long())

    def compute(self) -> Float[Tensor, " p"]:
        """Recall of every head, between 0 and 1; 0 before any clip."""
        seen = self.seen[self.counted]
        hits = self.hits[:, self.counted]
        if not seen.any():
            return torch.zeros(len(hits))
        # Classes whose clips could not be decoded have no recall.
        return (hits / seen)[:, seen > 0].mean(dim=1)


def focal_loss(logits: Float[Tensor, "b classes"], label: Int[Tensor, " b"]) -> Float[Tensor, ""]:
    """The sigmoid focal loss (arXiv 1708.02002, equation 5), summed over classes and averaged over clips.

    Every class is a yes-or-no question, and questions that are already answered well get little weight.
    """
    targets = one_hot(label, logits.shape[1]).to(logits)
    # alpha and gamma are the defaults of the paper.
    return sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2.0).sum(dim=1).mean()

"""Mean-class recall: how often the right class is among the k most likely, averaged over classes, rare ones like frequent ones.

The measure of the EPIC-KITCHENS-100 anticipation challenge (arXiv 2006.13256, section 4), with k = 5. What becomes of classes
that training never shows, which no probe can name, is a matter of rules, of which there are two:

missed    Every class of the split counts, and what training never showed is missed. So do the challenge's public scorers,
          which average over the labels that they find. Ours unless said otherwise: no clip vanishes from the number.
left_out  Only classes that both show count, and only they are among the k: the released code of V-JEPA 2, whose metric is
          told the valid classes. Higher, and to be compared with nothing else.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torchmetrics import Metric

Unseen = Literal["missed", "left_out"]


class MeanClassRecall(Metric):
    """Sums by class, exact over processes.

    Args:
        known: Classes that can be answered, numbered from 0.
        shown: Classes that the split has; those from `known` on can only be missed.
        k: How many answers each clip gets.
        unseen: What becomes of those.
        heads: Probes that answer, each with a recall of its own.
    """

    full_state_update = False

    def __init__(
        self, known: int, shown: Sequence[int], k: int = 5, unseen: Unseen = "missed", heads: int = 1
    ) -> None:
        super().__init__()
        self.known, both = known, [number for number in shown if number < known]
        self.share = len(both) / len(shown) if unseen == "missed" else 1.0
        self.register_buffer(
            "answers", torch.tensor(both if unseen == "left_out" else range(known)), persistent=False
        )
        self.register_buffer(
            "counted", torch.tensor(both if unseen == "left_out" else shown), persistent=False
        )
        self.k = min(k, len(self.answers))
        classes = max(known, *shown, 0) + 1
        self.add_state("hits", default=torch.zeros(heads, classes, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("seen", default=torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    @property
    def chance(self) -> float:
        """What random answers reach."""
        return self.share * self.k / len(self.answers)

    def update(self, logits: Float[Tensor, "p b known"], label: Int[Tensor, " b"]) -> None:
        best = self.answers[logits[..., self.answers].float().topk(self.k, dim=-1).indices]
        hit = (best == label[:, None]).any(dim=-1)
        self.seen += torch.bincount(label, minlength=len(self.seen))
        self.hits.index_add_(1, label, hit.long())

    def compute(self) -> Float[Tensor, " p"]:
        """Between 0 and 1; 0 before any clip."""
        seen, hits = self.seen[self.counted], self.hits[:, self.counted]
        return (hits / seen)[:, seen > 0].mean(dim=1) if seen.any() else torch.zeros(len(hits))


def focal_loss(
    logits: Float[Tensor, "b classes"], label: Int[Tensor, " b"], alpha: float = 0.25, gamma: float = 2.0
) -> Float[Tensor, ""]:
    """Every class a yes or no, what is easy weighing little (arXiv 1708.02002, equation 5); summed over classes, averaged over
    clips."""
    wanted = one_hot(label, logits.shape[1]).to(logits)
    share = logits.sigmoid()
    right = share * wanted + (1 - share) * (1 - wanted)
    weight = (alpha * wanted + (1 - alpha) * (1 - wanted)) * (1 - right) ** gamma
    return (weight * binary_cross_entropy_with_logits(logits, wanted, reduction="none")).sum(dim=1).mean()

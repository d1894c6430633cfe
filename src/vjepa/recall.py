"""Mean-class recall: how often the right class is among the k most likely, averaged over classes, rare ones like frequent ones.

The measure of the EPIC-KITCHENS-100 anticipation challenge (arXiv 2006.13256, section 4), with k = 5. Classes that the split
or the training clips never show do not count, and are never among the k.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot
from torchmetrics import Metric


class MeanClassRecall(Metric):
    """Sums by class, exact over processes.

    Args:
        classes: How many there are.
        valid: Those that count.
        k: How many answers each clip gets.
    """

    full_state_update = False

    def __init__(self, classes: int, valid: Sequence[int], k: int = 5) -> None:
        super().__init__()
        self.k = min(k, len(valid))
        self.register_buffer("valid", torch.tensor(valid, dtype=torch.long), persistent=False)
        for name in ("hits", "seen"):
            self.add_state(name, default=torch.zeros(classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, logits: Float[Tensor, "b classes"], label: Int[Tensor, " b"]) -> None:
        """Clips whose label does not count are passed over."""
        counts = torch.isin(label, self.valid)
        logits, label = logits[counts].float(), label[counts]
        best = self.valid[logits[:, self.valid].topk(self.k, dim=1).indices]
        hit = (best == label[:, None]).any(dim=1)
        self.seen += torch.bincount(label, minlength=len(self.seen))
        self.hits += torch.bincount(label[hit], minlength=len(self.hits))

    def compute(self) -> Float[Tensor, ""]:
        """Between 0 and 1; 0 before any clip."""
        seen = self.seen > 0
        return (self.hits[seen] / self.seen[seen]).mean() if seen.any() else torch.zeros(())


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

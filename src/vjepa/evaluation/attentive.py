"""Attentive."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from vjepa.models.probe import AttentiveProbe, ProbeConfig


def trained_probe(
    x: Float[Tensor, "b n d"], label: Int[Tensor, " b"], steps: int, lr: float
) -> AttentiveProbe:
    """AdamW on random batches of 16, warm-up over a tenth of the steps, cosine to zero; always the same start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probe = AttentiveProbe(ProbeConfig(depth=1, heads=4), x.shape[-1], int(label.max()) + 1)
        optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.05)
        for step in range(steps):
            ramp, fall = 10 * (step + 1) / steps, (1 + math.cos(math.pi * step / steps)) / 2
            for group in optimizer.param_groups:
                group["lr"] = lr * min(ramp, fall)
            rows = torch.randint(len(x), (16,))
            loss = cross_entropy(probe(x[rows]), label[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return probe


@torch.no_grad()
def probe_accuracy(probe: AttentiveProbe, y: Float[Tensor, "c n d"], wanted: Int[Tensor, " c"]) -> float:
    """Share of `y` that the probe gets right."""
    guess = torch.cat([probe(some) for some in y.split(64)])
    return float((guess.argmax(dim=1) == wanted).float().mean())

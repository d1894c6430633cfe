"""The attentive read-out: a small attentive probe, trained on the tokens of clips in memory."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from vjepa.models.probe import AttentiveProbe, ProbeConfig

BATCH = 16  # read-outs are fitted on a few hundred clips


def attentive_accuracy(
    fit_tokens: Float[Tensor, "b n d"],
    fit_labels: Int[Tensor, " b"],
    score_tokens: Float[Tensor, "c n d"],
    score_labels: Int[Tensor, " c"],
    steps: int,
    lr: float,
) -> float:
    """Share of the scored clips that a trained probe gets right; clips labelled -1 do not count."""
    fitted = fit_labels >= 0
    scored = score_labels >= 0
    probe = train_probe(fit_tokens[fitted], fit_labels[fitted], steps, lr)
    return probe_accuracy(probe, score_tokens[scored], score_labels[scored])


def train_probe(
    tokens: Float[Tensor, "b n d"], labels: Int[Tensor, " b"], steps: int, lr: float
) -> AttentiveProbe:
    """A probe of one block after `steps` of AdamW on random batches, with warm-up and cosine decay to zero.

    Every call starts from the same weights and draws the same batches, and leaves torch's random state as it
    was.
    """
    # A read-out runs in the middle of a training, whose random numbers it must not disturb.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # One block of cross-attention trains in seconds, and sees single tokens, which averages hide.
        probe = AttentiveProbe(ProbeConfig(depth=1, heads=4), tokens.shape[-1], int(labels.max()) + 1)
        optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=0.05)

        for step in range(steps):
            # AdamW is made without a rate, since every step sets one.
            optimizer.param_groups[0]["lr"] = lr * schedule(step, steps)
            rows = torch.randint(len(tokens), (BATCH,))
            loss = cross_entropy(probe(tokens[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return probe


def schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: it rises over the first tenth of the steps and falls like a cosine."""
    # step + 1, so that the first step moves the weights.
    warmup = 10 * (step + 1) / steps
    cosine = (1 + math.cos(math.pi * step / steps)) / 2
    return min(warmup, cosine)


@torch.no_grad()
def probe_accuracy(probe: AttentiveProbe, tokens: Float[Tensor, "c n d"], labels: Int[Tensor, " c"]) -> float:
    """Share of the clips that the probe gets right."""
    # In batches: attention over the tokens of all clips at once would need too much memory.
    logits = torch.cat([probe(batch) for batch in tokens.split(64)])
    return float((logits.argmax(dim=1) == labels).float().mean())

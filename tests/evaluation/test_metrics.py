"""Telemetry on features whose rank and spread are known, and the focal loss against its definition."""

import pytest
import torch

from vjepa.evaluation.collapse import effective_rank, feature_std, mean_baseline, token_cosine
from vjepa.evaluation.recall import focal_loss


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tokens_of_rank(rank: int, d: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(d, rank, generator=generator)).Q
    return torch.randn(16, 64, rank, generator=generator) @ basis.T


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_effective_rank_counts_dimensions(rank):
    assert effective_rank(tokens_of_rank(rank)) == pytest.approx(rank, rel=0.03)


def test_effective_rank_of_a_collapse_is_one():
    assert effective_rank(torch.ones(4, 8, 16)) == pytest.approx(1)


def test_the_rank_of_many_tokens_looks_at_all_columns():
    """Tokens whose direction depends on their column alone: a regular stride would see one column only."""
    columns = torch.eye(16).repeat(16 * 64, 1).reshape(64, 256, 16)
    assert effective_rank(columns) == pytest.approx(15, rel=0.01)


def test_cosine_is_one_when_all_tokens_agree_and_zero_for_noise():
    assert token_cosine(torch.ones(2, 5, 8)) == pytest.approx(1)
    assert abs(token_cosine(seeded(8, 200, 64))) < 0.01


def test_spread_and_baseline():
    tokens = seeded(8, 500, 16) * 3
    assert feature_std(tokens) == pytest.approx(3, rel=0.02)
    assert mean_baseline(tokens) == pytest.approx(3 * (2 / torch.pi) ** 0.5, rel=0.02)


def test_the_focal_loss_is_equation_5_of_its_paper():
    logits = 4 * seeded(64, 97)
    label = torch.arange(64) % 97
    truth = torch.nn.functional.one_hot(label, 97).double()
    p = logits.double().sigmoid()
    p_t = p * truth + (1 - p) * (1 - truth)
    alpha_t = 0.25 * truth + 0.75 * (1 - truth)
    losses = -alpha_t * (1 - p_t) ** 2 * p_t.log()
    expected = losses.sum() / 64
    assert float(focal_loss(logits, label)) == pytest.approx(float(expected), rel=1e-6)

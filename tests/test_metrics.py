"""Telemetry on features whose rank and spread are known."""

import pytest
import torch

from vjepa.evaluation import collapse as metrics


def tokens(rank: int, d: int = 32) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(d, rank, generator=g)).Q
    return torch.randn(16, 64, rank, generator=g) @ basis.T


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_effective_rank_counts_dimensions(rank):
    assert metrics.effective_rank(tokens(rank)) == pytest.approx(rank, rel=0.03)


def test_effective_rank_of_a_collapse_is_one():
    assert metrics.effective_rank(torch.ones(4, 8, 16)) == pytest.approx(1)


def test_cosine_is_one_when_all_tokens_agree_and_zero_for_noise():
    assert metrics.token_cosine(torch.ones(2, 5, 8)) == pytest.approx(1)
    assert (
        abs(metrics.token_cosine(torch.randn(8, 200, 64, generator=torch.Generator().manual_seed(0)))) < 0.01
    )


def test_spread_and_baseline():
    x = torch.randn(8, 500, 16, generator=torch.Generator().manual_seed(0)) * 3
    assert metrics.feature_std(x) == pytest.approx(3, rel=0.02)
    assert metrics.mean_baseline(x) == pytest.approx(3 * (2 / torch.pi) ** 0.5, rel=0.02)


def test_the_rank_of_many_tokens_looks_at_all_columns():
    """Tokens whose direction depends on their column alone: a regular stride would see one column only."""
    columns = torch.eye(16).repeat(16 * 64, 1).reshape(64, 256, 16)
    assert metrics.effective_rank(columns) == pytest.approx(15, rel=0.01)

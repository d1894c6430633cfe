"""A grid of probes equals separate probes: in outputs, gradients and whole trainings."""

import copy
import re

import pytest
import torch
from torch.nn.functional import cross_entropy

from vjepa.errors import UserError
from vjepa.models.anticipation import AnticipationGrid, AnticipationProbe
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.probe_grid import ProbeGrid
from vjepa.training.grid_optim import GridAdamW, GridConfig
from vjepa.training.optim import OptimConfig, Schedule, set_step

GRID = GridConfig(lr=(5e-3, 1e-3, 1e-4), weight_decay=(0.8, 0.01))
OPTIM = OptimConfig(
    lr=Schedule(1e-3, start=0.0, warmup=2, final=0.0, decay=4, shape="cosine"), weight_decay=Schedule(0.1)
)


def probe(depth: int) -> AttentiveProbe:
    torch.manual_seed(0)
    return AttentiveProbe(ProbeConfig(depth=depth, heads=4), 32, 5)


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_every_head_trains_as_if_alone(depth):
    """Ten steps of six heads at once, and of six AdamWs of torch, one after the other."""
    heads = GRID.heads(OPTIM)
    grid = ProbeGrid(probe(depth), len(heads))
    optimizer = GridAdamW(OPTIM, heads, grid)
    singles = [probe(depth) for _ in heads]
    optimizers = [plain_adamw(single) for single in singles]
    for step in range(1, 11):
        tokens = torch.randn(6, 12, 32)
        labels = torch.randint(5, (6,))
        optimizer.zero_grad()
        grid_logits = grid(tokens)
        sum(cross_entropy(logits, labels) for logits in grid_logits).backward()
        for single, own, (lr, decay), logits in zip(singles, optimizers, heads, grid_logits, strict=True):
            torch.testing.assert_close(single(tokens), logits, atol=1e-5, rtol=1e-5)
            own.zero_grad()
            cross_entropy(single(tokens), labels).backward()
            for group, weight_decay in zip(own.param_groups, (decay, 0.0), strict=True):
                group["lr"] = lr * OPTIM.lr.at(step, 10) / OPTIM.lr.peak
                group["weight_decay"] = weight_decay
            own.step()
        set_step(optimizer, OPTIM, step, 10)
        optimizer.step()
    for i, single in enumerate(singles):
        torch.testing.assert_close(grid.member(i)(tokens), single(tokens), atol=1e-5, rtol=1e-4)


def plain_adamw(network: torch.nn.Module) -> torch.optim.AdamW:
    """Torch's, with matrices and vectors in groups of their own."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors}]
    return torch.optim.AdamW(groups, betas=OPTIM.betas, eps=OPTIM.eps)


def output_and_memory(network: torch.nn.Module, tokens: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The output, and the bytes of activations that are kept for the gradient."""
    bytes_at = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        bytes_at[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        output = network(tokens)
    for value in (*network.parameters(), tokens):  # these exist anyway
        bytes_at.pop(value.untyped_storage().data_ptr(), None)
    return output, sum(bytes_at.values())


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_activation_checkpointing_keeps_no_activations_and_changes_no_output(depth):
    tokens = torch.randn(4, 64, 32)
    plain, plain_memory = output_and_memory(ProbeGrid(probe(depth), 8), tokens)
    again, memory = output_and_memory(ProbeGrid(probe(depth), 8, activation_checkpointing=True), tokens)
    torch.testing.assert_close(plain, again, atol=1e-5, rtol=1e-5)
    assert memory == 0 < plain_memory
    # With blocks of their own, eight probes keep what one keeps eight times.
    assert depth < 4 or plain_memory > 7.5 * output_and_memory(probe(depth), tokens)[1]


def with_different_heads(grid: torch.nn.Module) -> torch.nn.Module:
    """The same grid, with heads that differ as after some training."""
    torch.manual_seed(1)
    for parameter in grid.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return grid


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_every_head_of_a_grid_uses_its_own_weights(activation_checkpointing):
    tokens = torch.randn(4, 16, 32)
    grid = with_different_heads(ProbeGrid(probe(3), 4, activation_checkpointing))
    alone = torch.stack([grid.member(i)(tokens) for i in range(4)])
    torch.testing.assert_close(grid(tokens), alone, atol=1e-5, rtol=1e-5)
    assert (alone[0] - alone[1]).abs().max() > 0.1

    anticipation = AnticipationProbe(ProbeConfig(depth=2, heads=4), 32, (3, 4, 5))
    grid = with_different_heads(AnticipationGrid(anticipation, 4, activation_checkpointing))
    logits = grid(tokens)
    for i in range(4):
        for of_grid, of_member in zip(logits, grid.member(i)(tokens), strict=True):
            torch.testing.assert_close(of_grid[i], of_member, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_activation_checkpointing_changes_no_gradient(depth):
    tokens = torch.randn(4, 16, 32)
    plain, recomputed = (with_different_heads(ProbeGrid(probe(depth), 4, kind)) for kind in (False, True))
    for grid in (plain, recomputed):
        grid(tokens).square().sum().backward()
    for parameter, again in zip(plain.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, again.grad, atol=1e-3, rtol=1e-3)


def test_one_head_of_a_grid_is_plain_adamw():
    assert GridConfig().heads(OPTIM) == [(1e-3, 0.1)]
    assert len(GRID.heads(OPTIM)) == 6 and GRID.heads(OPTIM)[1] == (5e-3, 0.01)
    with pytest.raises(
        UserError, match=re.escape("grid.weight_decay=[0.1] scales optim.weight_decay, so its peak (0.0)")
    ):
        GridConfig(weight_decay=(0.1,)).heads(OptimConfig(weight_decay=Schedule(0.0)))


def test_the_optimiser_resumes():
    def steps(grid, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            grid(torch.ones(2, 3, 32)).square().sum().backward()
            optimizer.step()

    heads = GRID.heads(OPTIM)
    straight = ProbeGrid(probe(1), 6)
    steps(straight, GridAdamW(OPTIM, heads, straight), 4)

    interrupted = ProbeGrid(probe(1), 6)
    before = GridAdamW(OPTIM, heads, interrupted)
    steps(interrupted, before, 2)
    after = GridAdamW(OPTIM, heads, interrupted)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    steps(interrupted, after, 2)
    assert all(
        torch.equal(a, b) for a, b in zip(straight.parameters(), interrupted.parameters(), strict=True)
    )


def test_tokens_of_several_layers():
    encoder = Encoder(EncoderConfig(width=48, depth=3, heads=4, mlp_width=96, patch=8)).eval()
    clip = torch.randn(2, 3, 4, 16, 16)
    tokens = encoder.layers(clip, (0, 2, -1))
    assert tokens.shape == (2, 3, 8, 48)
    torch.testing.assert_close(tokens[:, 1], encoder(clip))
    assert torch.equal(tokens[:, 1], tokens[:, 2]) and not torch.equal(tokens[:, 0], tokens[:, 1])
    with pytest.raises(UserError, match=r"layers=\[3\]: the encoder has 3 blocks"):
        encoder.layers(clip, (3,))

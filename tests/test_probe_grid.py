"""A grid of probes is its probes: outputs, gradients and whole trainings equal those of separate networks."""

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
    grid, alone = ProbeGrid(probe(depth), len(heads)), [probe(depth) for _ in heads]
    optimizer = GridAdamW(OPTIM, heads, grid)
    theirs = []
    for single in alone:
        matrices, vectors = (
            [p for p in single.parameters() if (p.ndim > 1) == kind] for kind in (True, False)
        )
        theirs.append(
            torch.optim.AdamW([{"params": matrices}, {"params": vectors}], betas=OPTIM.betas, eps=OPTIM.eps)
        )
    for step in range(1, 11):
        tokens, label = torch.randn(6, 12, 32), torch.randint(5, (6,))
        optimizer.zero_grad()
        together = grid(tokens)
        sum(cross_entropy(logits, label) for logits in together).backward()
        for single, other, (lr, decay), logits in zip(alone, theirs, heads, together, strict=True):
            torch.testing.assert_close(single(tokens), logits, atol=1e-5, rtol=1e-5)
            other.zero_grad()
            cross_entropy(single(tokens), label).backward()
            for group, wd in zip(other.param_groups, (decay, 0.0), strict=True):
                group["lr"], group["weight_decay"] = lr * OPTIM.lr.at(step, 10) / OPTIM.lr.peak, wd
            other.step()
        set_step(optimizer, OPTIM, step, 10)
        optimizer.step()
    for i, single in enumerate(alone):
        torch.testing.assert_close(grid.member(i)(tokens), single(tokens), atol=1e-5, rtol=1e-4)


def held(network: torch.nn.Module, tokens: torch.Tensor) -> tuple[torch.Tensor, int]:
    """What comes out, and the bytes that are kept for the gradient, parameters and the tokens themselves aside."""
    kept = {}

    def note(value: torch.Tensor) -> torch.Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        out = network(tokens)
    ours = [*network.parameters(), tokens]
    return out, sum(
        size for place, size in kept.items() if place not in {p.untyped_storage().data_ptr() for p in ours}
    )


@pytest.mark.parametrize("depth", [0, 1, 4])
def test_recomputing_keeps_next_to_nothing_and_changes_nothing(depth):
    tokens = torch.randn(4, 64, 32)
    (plain, much), (again, little) = (
        held(ProbeGrid(probe(depth), 8, activation_checkpointing), tokens)
        for activation_checkpointing in (False, True)
    )
    torch.testing.assert_close(plain, again, atol=1e-5, rtol=1e-5)
    assert little == 0 < much  # and while a gradient is due, what one probe alone keeps
    assert depth < 4 or much > 7.5 * held(probe(depth), tokens)[1]


def of_other_weights(grid: torch.nn.Module) -> torch.nn.Module:
    """The same grid, its heads as different as after some training."""
    torch.manual_seed(1)
    for parameter in grid.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return grid


@pytest.mark.parametrize("activation_checkpointing", [False, True])
def test_every_head_of_a_grid_answers_by_its_own_weights(activation_checkpointing):
    tokens = torch.randn(4, 16, 32)
    grid = of_other_weights(ProbeGrid(probe(3), 4, activation_checkpointing))
    alone = torch.stack([grid.member(i)(tokens) for i in range(4)])
    torch.testing.assert_close(grid(tokens), alone, atol=1e-5, rtol=1e-5)
    several = of_other_weights(
        AnticipationGrid(
            AnticipationProbe(ProbeConfig(depth=2, heads=4), 32, (3, 4, 5)), 4, activation_checkpointing
        )
    )
    each = zip(*(several.member(i)(tokens) for i in range(4)), strict=True)
    for together, single in zip(several(tokens), each, strict=True):
        torch.testing.assert_close(together, torch.stack(single), atol=1e-5, rtol=1e-5)
    assert (alone[0] - alone[1]).abs().max() > 0.1


def test_recomputed_heads_have_the_gradients_of_the_grid():
    grids, tokens = (
        [of_other_weights(ProbeGrid(probe(3), 4, kind)) for kind in (False, True)],
        torch.randn(4, 16, 32),
    )
    for grid in grids:
        grid(tokens).square().sum().backward()
    for one, other in zip(*(grid.parameters() for grid in grids), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-3)


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
    straight, cut = ProbeGrid(probe(1), 6), ProbeGrid(probe(1), 6)
    optimizer = GridAdamW(OPTIM, heads, straight)
    steps(straight, optimizer, 4)
    first = GridAdamW(OPTIM, heads, cut)
    steps(cut, first, 2)
    second = GridAdamW(OPTIM, heads, cut)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    steps(cut, second, 2)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), cut.parameters(), strict=True))


def test_tokens_of_several_layers():
    encoder = Encoder(EncoderConfig(width=48, depth=3, heads=4, mlp_width=96, patch=8)).eval()
    clip = torch.randn(2, 3, 4, 16, 16)
    found = encoder.layers(clip, (0, 2, -1))
    assert found.shape == (2, 3, 8, 48)
    torch.testing.assert_close(found[:, 1], encoder(clip))
    assert torch.equal(found[:, 1], found[:, 2]) and not torch.equal(found[:, 0], found[:, 1])
    with pytest.raises(UserError, match=r"layers=\[3\]: the encoder has 3 blocks"):
        encoder.layers(clip, (3,))

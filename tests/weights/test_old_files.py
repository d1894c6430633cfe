"""Files that version 0.1 wrote, before the modules moved into rooms, still load."""

from pathlib import Path

import pytest
import torch

from vjepa.weights.export import read_description, read_schema
from vjepa.weights.load import load_ac_predictor, load_encoder, load_predictor, load_probe

OLD = Path(__file__).parents[1] / "fixtures/export_before_the_rooms.safetensors"
"""An export of version 0.1 (commit 6b31d16) with four parts: width 24, one block, 16 px, random weights."""


@pytest.fixture
def tokens() -> torch.Tensor:
    """Tokens of a ramp of grey values; the grid is 1 x 2 x 2."""
    clip = torch.linspace(-1, 1, 3 * 2 * 16 * 16).view(1, 3, 2, 16, 16)
    with torch.no_grad():
        return load_encoder(OLD)(clip)


def close(values: torch.Tensor, *recorded: float) -> None:
    torch.testing.assert_close(values, torch.tensor(recorded), atol=2e-6, rtol=0)


def test_the_encoder_gives_the_recorded_tokens(tokens):
    close(tokens[0, :, 0], 0.536933, 0.563112, 0.896386, 0.913193)


@torch.no_grad()
def test_the_probe_gives_the_recorded_logits(tokens):
    close(load_probe(OLD)(tokens)[0], -0.613693, -1.587027, 1.454319)


@torch.no_grad()
def test_the_predictor_gives_the_recorded_guess(tokens):
    drop = torch.tensor([[0, 1]])
    keep = torch.tensor([[2, 3]])
    clip = torch.linspace(-1, 1, 3 * 2 * 16 * 16).view(1, 3, 2, 16, 16)
    context = load_encoder(OLD)(clip, keep)
    close(load_predictor(OLD)(context, keep, drop, (1, 2, 2))[0, :, 0], 0.051846, 0.051846)


@torch.no_grad()
def test_the_action_conditioned_predictor_gives_the_recorded_tokens(tokens):
    action = torch.full((1, 1, 7), 0.1)
    state = torch.full((1, 1, 7), 0.2)
    close(load_ac_predictor(OLD)(tokens, action, state)[0, :, 0], 0.302028, 0.297988, 0.21327, 0.206594)


def test_descriptions_and_schemas_are_read():
    assert set(read_description(OLD)["parts"]) == {"ema", "predictor", "probe", "ac_predictor"}
    assert read_schema(OLD)["names"][:3] == ["x", "y", "z"]

"""Laws of the reader of the arm's state: it finds a point wherever it is, and its places mean metres."""

import torch

from vjepa.models.state_reader import PointHead, StateReader, StateReaderConfig, coordinates

SMALL = StateReaderConfig(width=16, points=2)


def blob(places: torch.Tensor, side: int) -> torch.Tensor:
    """Tokens b n d of frames, each with a bright spot at a place (b, 2) of -1 to 1."""
    away = (coordinates(side, places.device) - places[:, None]).square().sum(dim=-1)
    bright = torch.exp(-away / 0.05)[..., None]
    return torch.cat([bright, torch.ones_like(bright)], dim=-1)


def test_a_head_learns_where_a_spot_is():
    torch.manual_seed(0)
    head = PointHead(2, SMALL, outputs=2)
    optimizer = torch.optim.AdamW(head.parameters(), 3e-3)
    for _ in range(300):
        places = 1.6 * torch.rand(64, 2) - 0.8
        loss = (head(blob(places, 8)) - places).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    places = 1.6 * torch.rand(200, 2) - 0.8
    # A token is 0.29 wide: places are told apart within a token.
    assert (head(blob(places, 8)) - places).abs().mean() < 0.06


def test_readings_in_metres_undo_the_scale():
    reader = StateReader(SMALL, 2)
    seen = torch.rand(50, 3) + torch.tensor([-0.5, -0.5, 0.8])
    reader.standardise(seen)
    torch.testing.assert_close(reader.hand_of(reader.ray_of(seen)), seen)
    rays = reader.ray_of(seen)
    torch.testing.assert_close(rays.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.std(dim=0), torch.ones(3), atol=1e-4, rtol=0)


def test_the_scale_is_part_of_the_weights():
    reader, other = (StateReader(SMALL, 2) for _ in range(2))
    reader.standardise(torch.rand(50, 3) + 0.5)
    other.load_state_dict(reader.state_dict())
    tokens = torch.randn(3, 16, 2)
    assert torch.equal(reader.hand(tokens), other.hand(tokens))

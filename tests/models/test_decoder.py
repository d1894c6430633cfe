"""Laws of the decoder: it learns pictures, and it is the same convolutions on a grid of any side."""

import pytest
import torch

from vjepa.errors import UserError
from vjepa.models.decoder import Decoder, DecoderConfig, as_bytes
from vjepa.models.encoder import EncoderConfig

TINY = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=4)
SMALL = DecoderConfig(width=16, depth=1, narrow=4)


def decoder(config: DecoderConfig = SMALL, encoder: EncoderConfig = TINY) -> Decoder:
    torch.manual_seed(0)
    made = Decoder(config, encoder)
    for block in made.blocks:  # as if trained: they begin as nothing
        torch.nn.init.normal_(block.second.weight, std=0.1)
    return made


@pytest.mark.parametrize("patch", [2, 8, 14, 16])
def test_a_token_becomes_the_pixels_of_its_patch(patch):
    made = Decoder(SMALL, EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=patch))
    assert made(torch.randn(2, 9, 24)).shape == (2, 3, 3 * patch, 3 * patch)


def test_a_larger_grid_is_decoded_by_the_same_convolutions():
    """Away from the edges, the picture of a part is that part of the picture."""
    made = decoder()
    grid = torch.randn(1, 12, 12, 24)
    whole = made(grid.flatten(1, 2))
    part = made(grid[:, 2:10, 2:10].flatten(1, 2))
    # One block reaches two tokens, and the last convolution one pixel of the next.
    torch.testing.assert_close(part[..., 12:20, 12:20], whole[..., 20:28, 20:28])
    assert not torch.allclose(part[..., :4, :4], whole[..., 8:12, 8:12])


def test_every_place_is_decoded_with_its_neighbours_alone():
    made = decoder()
    tokens = torch.randn(1, 144, 24)
    changed = tokens.clone()
    changed[:, 0] += 1.0
    same = (made(tokens) == made(changed)).all(dim=1)[0]
    assert same[16:].all() and same[:, 16:].all() and not same[:8, :8].all()


def test_one_batch_is_overfitted():
    torch.manual_seed(0)
    made = Decoder(DecoderConfig(width=32, depth=1), TINY)
    tokens = torch.nn.functional.layer_norm(torch.randn(2, 16, 24), (24,))
    pictures = torch.rand(2, 3, 16, 16)
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    first = (made(tokens) - pictures).abs().mean().item()
    for _ in range(300):
        loss = (made(tokens) - pictures).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1 * first


def test_images_are_the_pictures_in_bytes():
    made = decoder()
    tokens = 3 * torch.randn(70, 9, 24)  # more than are decoded at once
    images = made.images(tokens)
    assert images.dtype == torch.uint8 and images.shape == (70, 12, 12, 3)
    pictures = made(tokens)
    assert torch.equal(images.permute(0, 3, 1, 2), as_bytes(pictures)) and pictures.max() > 1
    assert images.max() == 255 and as_bytes(torch.tensor([[[-0.5, 0.5, 2.0]]])).tolist() == [[[0, 128, 255]]]


def test_tokens_of_no_square_frame_and_sizes_of_nothing_are_refused():
    with pytest.raises(UserError, match="12 tokens are no square frame"):
        decoder()(torch.randn(1, 12, 24))
    with pytest.raises(UserError, match="decoder: width=16, depth=0 and narrow=8 must be positive"):
        DecoderConfig(width=16, depth=0)


def test_the_demos_decoder_is_small():
    demo = EncoderConfig(width=64, depth=3, heads=4, mlp_width=256, patch=8)
    assert sum(parameter.numel() for parameter in Decoder(DecoderConfig(), demo).parameters()) < 500_000

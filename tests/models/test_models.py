"""Laws of the networks: clips of any size, kept tokens alone, rotary positions, probes that ignore order."""

import pytest
import torch

from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.grid import take
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.rope import rotate, rotation_of

SMALL = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(SMALL).eval()


@pytest.mark.parametrize(("t", "h", "w"), [(2, 8, 8), (6, 32, 16), (16, 24, 40)])
def test_any_length_and_any_rectangle(encoder, t, h, w):
    tokens = encoder(torch.randn(2, 3, t, h, w))
    assert tokens.shape == (2, t // 2 * (h // 8) * (w // 8), 48)


@pytest.mark.parametrize(("patch", "tubelet"), [(4, 1), (16, 2), (8, 4)])
def test_any_patch_and_tubelet(patch, tubelet):
    config = EncoderConfig(width=48, depth=1, heads=4, mlp_width=96, patch=patch, tubelet=tubelet)
    assert Encoder(config)(torch.randn(1, 3, 4, 32, 32)).shape == (1, 4 // tubelet * (32 // patch) ** 2, 48)


def test_an_image_is_a_clip_that_stands_still(encoder):
    image = torch.randn(1, 3, 1, 16, 24)
    still = image.expand(-1, -1, 2, -1, -1)
    assert torch.equal(encoder(image), encoder(still))
    assert torch.equal(encoder.fill_tubelet(image), still) and encoder.fill_tubelet(still) is still
    assert encoder.grid(image) == encoder.grid(still) == (1, 2, 3)


def test_keeping_all_tokens_is_encoding_the_whole_clip(encoder):
    clip = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(encoder(clip, torch.arange(8).expand(2, -1)), encoder(clip))


def test_kept_tokens_come_in_the_order_of_their_indices(encoder):
    clip = torch.randn(1, 3, 4, 16, 16)
    order = torch.tensor([[5, 0, 3]])
    in_order = encoder(clip, order.sort().values)
    torch.testing.assert_close(encoder(clip, order), take(in_order, torch.tensor([[2, 0, 1]])))


def test_a_clip_that_does_not_divide_is_refused(encoder):
    with pytest.raises(ValueError, match=r"5 frames of 16x20 does not divide into tubelets of 2x8x8"):
        encoder(torch.randn(1, 3, 5, 16, 20))


def test_the_predictor_ignores_the_order_of_its_inputs():
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(width=24, depth=2, heads=2, mlp_width=48), SMALL).eval()
    tokens = torch.randn(1, 5, 48)
    keep = torch.tensor([[0, 2, 4, 6, 8]])
    drop = torch.tensor([[1, 3, 5]])
    shuffled = torch.tensor([[4, 2, 0, 1, 3]])
    in_order = predictor(tokens, keep, drop, (3, 2, 2))
    out_of_order = predictor(take(tokens, shuffled), keep.gather(1, shuffled), drop.flip(1), (3, 2, 2))
    torch.testing.assert_close(out_of_order.flip(1), in_order)


def logit(layout: str, query_place: tuple[int, int, int], key_place: tuple[int, int, int]) -> float:
    """Attention logit of a fixed query and a fixed key at two (time, row, column) of an 8 x 8 x 8 grid."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 24, generator=generator)
    indices = [torch.tensor([[(t * 8 + y) * 8 + x]]) for t, y, x in (query_place, key_place)]
    of_query, of_key = (rotation_of(index, (8, 8, 8), 24, layout) for index in indices)
    return float((rotate(query, of_query) * rotate(key, of_key)).sum())


def test_interleaved_positions_are_relative():
    """A true rotation: the logit depends on the difference of places along every axis."""
    expected = logit("interleaved", (1, 2, 3), (2, 4, 6))
    assert logit("interleaved", (3, 3, 4), (4, 5, 7)) == pytest.approx(expected, abs=1e-4)
    assert logit("interleaved", (1, 2, 3), (2, 4, 5)) != pytest.approx(expected, abs=1e-2)


def test_the_released_layout_is_not_a_rotation():
    """The released weights need it, but a new run may choose the correct layout."""
    expected = logit("released", (1, 2, 3), (2, 4, 6))
    assert logit("released", (3, 3, 4), (4, 5, 7)) != pytest.approx(expected, abs=1e-2)


def test_the_probe_ignores_the_order_of_tokens(encoder):
    probe = AttentiveProbe(ProbeConfig(depth=2, heads=4), 48, 5).eval()
    tokens = torch.randn(2, 9, 48)
    torch.testing.assert_close(probe(tokens), probe(tokens.flip(1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "word"), [({"width": 50, "heads": 4}, "does not divide"), ({"width": 12, "heads": 4}, "odd")]
)
def test_impossible_widths_name_the_setting(fields, word):
    with pytest.raises(ValueError, match=rf"encoder\..*{word}"):
        EncoderConfig(**fields)

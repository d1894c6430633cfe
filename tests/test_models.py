"""Laws of the networks: any size, only kept tokens, rotary positions, the probe's indifference to order."""

import pytest
import torch

from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.grid import take
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.models.rope import rotate, rotation

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
    image = torch.randn(1, 3, 1, 16, 16)
    assert torch.equal(encoder(image), encoder(image.expand(-1, -1, 2, -1, -1)))


def test_keeping_all_tokens_is_keeping_none_out(encoder):
    clip = torch.randn(2, 3, 4, 16, 16)
    torch.testing.assert_close(encoder(clip, torch.arange(8).expand(2, -1)), encoder(clip))


def test_kept_tokens_come_in_the_order_asked_for(encoder):
    clip, order = torch.randn(1, 3, 4, 16, 16), torch.tensor([[5, 0, 3]])
    in_order = encoder(clip, order.sort().values)
    torch.testing.assert_close(encoder(clip, order), take(in_order, torch.tensor([[2, 0, 1]])))


def test_a_clip_that_does_not_divide_is_refused(encoder):
    with pytest.raises(ValueError, match=r"5 frames of 16x20 does not divide into tubelets of 2x8x8"):
        encoder(torch.randn(1, 3, 5, 16, 20))


def test_the_predictor_does_not_care_about_the_order_of_its_inputs():
    torch.manual_seed(0)
    predictor = Predictor(PredictorConfig(width=24, depth=2, heads=2, mlp_width=48), SMALL).eval()
    tokens, keep, drop = torch.randn(1, 5, 48), torch.tensor([[0, 2, 4, 6, 8]]), torch.tensor([[1, 3, 5]])
    shuffled = torch.tensor([[4, 2, 0, 1, 3]])
    guess = predictor(tokens, keep, drop, (3, 2, 2))
    again = predictor(take(tokens, shuffled), keep.gather(1, shuffled), drop.flip(1), (3, 2, 2))
    torch.testing.assert_close(again.flip(1), guess)


def product(layout: str, a: int, b: int, grid=(8, 8, 8)) -> float:
    """Attention logit between one fixed query at place a and one fixed key at place b."""
    g = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 24, generator=g)
    turn = [rotation(torch.tensor([[place]]), grid, 24, layout) for place in (a, b)]
    return float((rotate(q, turn[0]) * rotate(k, turn[1])).sum())


def place(t: int, y: int, x: int) -> int:
    return (t * 8 + y) * 8 + x


def test_interleaved_positions_are_relative():
    """A true rotation: the logit depends on the difference of places along every axis."""
    here = product("interleaved", place(1, 2, 3), place(2, 4, 6))
    assert product("interleaved", place(3, 3, 4), place(4, 5, 7)) == pytest.approx(here, abs=1e-4)
    assert product("interleaved", place(1, 2, 3), place(2, 4, 5)) != pytest.approx(here, abs=1e-2)


def test_the_released_layout_is_not_a_rotation():
    """Kept for the released weights, and why the correct layout can be chosen."""
    here = product("released", place(1, 2, 3), place(2, 4, 6))
    assert product("released", place(3, 3, 4), place(4, 5, 7)) != pytest.approx(here, abs=1e-2)


def test_the_probe_reads_a_set(encoder):
    probe = AttentiveProbe(ProbeConfig(depth=2, heads=4), 48, 5).eval()
    tokens = torch.randn(2, 9, 48)
    torch.testing.assert_close(probe(tokens), probe(tokens.flip(1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "word"), [({"width": 50, "heads": 4}, "does not divide"), ({"width": 12, "heads": 4}, "odd")]
)
def test_impossible_widths_name_the_setting(fields, word):
    with pytest.raises(ValueError, match=rf"encoder\..*{word}"):
        EncoderConfig(**fields)

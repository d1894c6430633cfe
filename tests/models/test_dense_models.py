"""Laws of the networks of V-JEPA 2.1: levels, images, stretched positions, answers at all places."""

import pytest
import torch
from einops import rearrange

from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.rope import grid_positions, rotation_of, stretched

DENSE = EncoderConfig(
    width=24,
    depth=4,
    heads=2,
    mlp_width=48,
    patch=8,
    rope="interleaved",
    rope_grid=16,
    levels=(1, 3),
    image_tokenizer=True,
    modality=True,
    init_std=0.2,
)
GRID = (2, 2, 3)


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(DENSE)


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.randn(2, 3, 4, 16, 24, generator=torch.Generator().manual_seed(1))


def test_on_the_grid_of_pretraining_positions_are_not_stretched():
    index = torch.arange(2 * 16 * 16)[None]
    grid = (2, 16, 16)
    for stretched_one, plain in zip(
        rotation_of(index, grid, 24, "interleaved", 16),
        rotation_of(index, grid, 24, "interleaved"),
        strict=True,
    ):
        assert torch.equal(stretched_one, plain)


@pytest.mark.parametrize("grid", [(3, 4, 4), (2, 2, 7), (1, 1, 5), (2, 1, 1)])
def test_rows_and_columns_of_every_grid_end_where_those_of_pretraining_end(grid):
    T, H, W = grid
    positions = stretched(grid_positions(torch.arange(T * H * W)[None], grid), grid, 16)
    last = positions.amax(dim=(0, 1)).tolist()
    assert last == [T - 1, 15.0 if H > 1 else 0.0, 15.0 if W > 1 else 0.0]


def test_the_last_level_is_what_every_other_stage_reads(encoder, clip):
    levels = encoder.all_levels(clip)
    assert levels.shape == (2, 12, 2, 24)
    assert torch.equal(levels[:, :, 1], encoder(clip))
    assert torch.equal(rearrange(levels, "b n l d -> b l n d"), encoder.layers(clip, (1, -1)))
    with pytest.raises(UserError, match=r"only the blocks 1, 3 of this one have a norm"):
        encoder.layers(clip, (0, 3))


def test_without_levels_there_is_one_and_the_final_norm_makes_it(clip):
    encoder = Encoder(EncoderConfig(width=24, depth=2, heads=2, mlp_width=48, patch=8))
    assert torch.equal(encoder.all_levels(clip)[:, :, 0], encoder(clip))


def test_kept_tokens_see_one_another_in_any_order(encoder, clip):
    everything = torch.stack([torch.randperm(12), torch.randperm(12)])
    levels = encoder.all_levels(clip, everything)
    expected = torch.stack(
        [one[order] for one, order in zip(encoder.all_levels(clip), everything, strict=True)]
    )
    torch.testing.assert_close(levels, expected)


def test_images_have_weights_and_a_vector_of_their_own(encoder, clip):
    def gradients(x: torch.Tensor) -> set[str]:
        encoder.zero_grad()
        encoder(x).square().sum().backward()
        names = {"embed.weight", "embed_image.weight", "modality.image", "modality.video"}
        return {name for name, p in encoder.named_parameters() if name in names and p.grad is not None}

    image = clip[:, :, :1]
    assert encoder.grid(image) == (1, 2, 3) and encoder(image).shape == (2, 6, 24)
    assert gradients(clip) == {"embed.weight", "modality.video"}
    assert gradients(image) == {"embed_image.weight", "modality.image"}


@pytest.mark.parametrize(("levels", "target"), [((1, 3), None), ((3,), 40), ((), None)])
def test_a_dense_predictor_answers_at_dropped_and_at_kept_places(levels, target, clip):
    torch.manual_seed(0)
    config = EncoderConfig(width=24, depth=4, heads=2, mlp_width=48, patch=8, levels=levels, modality=True)
    encoder = Encoder(config)
    narrow = PredictorConfig(width=12, depth=2, heads=2, mlp_width=24, dense=True, target_width=target)
    predictor = Predictor(narrow, config)
    keep, drop = torch.stack([torch.randperm(12), torch.randperm(12)]).split([5, 7], dim=1)
    tokens = rearrange(encoder.all_levels(clip, keep), "b k l d -> b k (l d)")
    hidden, visible = predictor.dense(tokens, keep, drop, GRID)
    width = max(1, len(levels)) * (target or 24)
    assert hidden.shape == (2, 7, width) and visible.shape == (2, 5, width)
    assert torch.equal(hidden, predictor(tokens, keep, drop, GRID))
    again, _ = predictor.dense(tokens.flip(1), keep.flip(1), drop.flip(1), GRID)
    torch.testing.assert_close(again.flip(1), hidden)


@pytest.mark.parametrize(
    "changes", [{"levels": (3, 1)}, {"levels": (1, 2)}, {"levels": (1, 1, 3)}, {"rope_grid": 1}]
)
def test_impossible_levels_and_grids_are_refused(changes):
    with pytest.raises(UserError, match=r"encoder\.(levels|rope_grid)"):
        EncoderConfig(width=24, depth=4, heads=2, **changes)

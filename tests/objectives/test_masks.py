"""Laws of the masks: pure in (seed, step, rank), unbiased in time, with the released statistics."""

import numpy as np
import pytest
import torch

from vjepa.models.grid import take
from vjepa.objectives.masks import BlockConfig, MaskConfig, sample_masks

GRID = (8, 16, 16)
SHORT, LONG = BlockConfig(8, 0.15), BlockConfig(2, 0.7)


def draw(config=None, grid=GRID, batch=24, seed=0, step=0, rank=0):
    return sample_masks(config or MaskConfig(), grid, batch, seed=seed, step=step, rank=rank)


def test_a_pure_function_of_seed_step_rank():
    for first, second in zip(draw(), draw(), strict=True):
        assert torch.equal(first.keep, second.keep) and torch.equal(first.drop, second.drop)
    for change in ({"seed": 1}, {"step": 1}, {"rank": 1}):
        before = draw()[0].keep
        after = draw(**change)[0].keep
        assert before.shape != after.shape or not torch.equal(before, after), change


def test_keep_and_drop_are_ascending_and_disjoint():
    for view in draw():
        for keep, drop in zip(view.keep, view.drop, strict=True):
            assert (keep.diff() > 0).all() and (drop.diff() > 0).all()
            assert not set(keep.tolist()) & set(drop.tolist())


def test_blocks_span_the_whole_time_axis():
    config = MaskConfig(kinds=(SHORT,), group=1)
    view = draw(config, batch=1)[0]
    kept = np.zeros(GRID, bool)
    kept.flat[view.keep[0].numpy()] = True
    assert (kept == kept[:1]).all() and 0 < kept.mean() < 1


@pytest.mark.parametrize("batch", [1, 2, 8, 12])
def test_micro_batches_see_the_masks_of_the_whole_batch(batch):
    """Two devices of twelve clips, or 24 accumulated single clips: the same task as one batch of 24."""
    parts = [draw(batch=batch, rank=rank) for rank in range(24 // batch)]
    for kind, whole in enumerate(draw()):
        assert torch.equal(torch.cat([part[kind].keep for part in parts]), whole.keep)
        assert torch.equal(torch.cat([part[kind].drop for part in parts]), whole.drop)


def test_the_cut_favours_no_time():
    times = [draw(step=step)[1].keep.flatten() // 256 for step in range(20)]
    kept = torch.bincount(torch.cat(times), minlength=8)
    # The released cut leaves the last frame under a tenth of the first's tokens.
    assert kept.min() / kept.max() > 0.9


# Of the released sampler at batch 24, computed with the public code (multiblock3d, 60 batches a row).
@pytest.mark.parametrize(
    ("kind", "grid", "context", "target", "ratio"),
    [
        (SHORT, (8, 16, 16), 508, 952, 0.390),
        (LONG, (8, 16, 16), 125, 1446, 0.194),
        (SHORT, (32, 24, 24), 4885, 8509, 0.390),
        (LONG, (32, 24, 24), 1576, 12765, 0.192),
    ],
)
def test_statistics_of_the_released_sampler(kind, grid, context, target, ratio):
    config = MaskConfig(kinds=(kind,))
    views = [draw(config, grid, step=step)[0] for step in range(60)]
    n = np.prod(grid)
    assert np.mean([view.keep.shape[1] for view in views]) / n == pytest.approx(context / n, abs=0.03)
    assert np.mean([view.drop.shape[1] for view in views]) / n == pytest.approx(target / n, abs=0.03)

    alone = MaskConfig(kinds=(kind,), group=1)
    kept = [draw(alone, grid, batch=1, step=step)[0].keep.shape[1] for step in range(300)]
    assert np.mean(kept) / n == pytest.approx(ratio, abs=0.015)


def test_lengths_are_rounded_to_the_multiple():
    for view in draw(MaskConfig(multiple=64)):
        assert view.keep.shape[1] % 64 == 0 and view.drop.shape[1] % 64 == 0


def test_a_batch_outside_the_group_is_refused():
    with pytest.raises(ValueError, match=r"masks\.group=24 is not a multiple of 7 clips"):
        draw(batch=7)


def test_blocks_that_drop_everything_are_refused():
    with pytest.raises(ValueError, match="keep nothing of a grid of 2 times 4x4"):
        draw(MaskConfig(kinds=(BlockConfig(40, 0.9),)), grid=(2, 4, 4))


def test_take_reads_each_clips_own_tokens():
    tokens = torch.arange(12.0).reshape(2, 6, 1)
    assert take(tokens, torch.tensor([[0, 5], [1, 2]]))[..., 0].tolist() == [[0, 5], [7, 8]]


def test_a_shorter_block_leaves_other_moments_whole():
    half = MaskConfig(kinds=(BlockConfig(1, 1.0, duration=0.5),), group=24)
    view = draw(half)[0]
    assert view.keep.shape[1] == view.drop.shape[1] == 4 * 256  # the whole frame, half of the time
    dropped_times = [sorted(set((drop // 256).tolist())) for drop in view.drop]
    assert all(times == list(range(times[0], times[0] + 4)) for times in dropped_times)
    assert {times[0] for times in dropped_times} == {0, 1, 2, 3, 4}


def test_a_block_at_the_end_leaves_the_past():
    late = MaskConfig(kinds=(BlockConfig(1, 1.0, duration=0.25, place="end"),), group=24)
    view = draw(late)[0]
    assert (view.drop >= 6 * 256).all() and (view.keep < 6 * 256).all()


def test_a_block_of_the_whole_frame_has_its_shape_whatever_the_aspect():
    wide = MaskConfig(kinds=(BlockConfig(1, 1.0, duration=0.5),), aspect=(3.0, 3.0), group=4)
    assert draw(wide, grid=(4, 6, 10), batch=4)[0].drop.shape[1] == 2 * 60


@pytest.mark.parametrize("wrong", [{"duration": 0.0}, {"duration": 1.5}, {"scale": 2.0}, {"blocks": 0}])
def test_impossible_blocks_are_refused(wrong):
    with pytest.raises(ValueError, match="give 1 or more blocks of shares"):
        BlockConfig(**{"blocks": 1, "scale": 0.5, **wrong})

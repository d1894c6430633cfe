"""Laws of dense read-outs: tokens that hold the answer give it, shuffled tokens fall to chance, and a place
alone gives what is the same in all clips."""

import pytest
import torch
from einops import rearrange
from torch.nn.functional import one_hot

from vjepa.errors import UserError
from vjepa.evaluation.dense_readouts import (
    DenseClips,
    dense_controls,
    dense_read_out,
    distances_of_tokens,
    equal_shares,
    explained,
    kinds_of_tokens,
    mean_recall,
    pixel_tokens,
    place_tokens,
    read_out_alone,
    with_place,
)
from vjepa.evaluation.token_ridge import best_penalty, moments, token_ridge
from vjepa.models.encoder import Encoder, EncoderConfig

GRID = (2, 4, 4)
NAMES = ("table", "arm", "hand")


def dense_clips(count: int, seed: int) -> DenseClips:
    """Frames of 16 pixels whose patches of 4 pixels show kinds at random, the last kind rarely. The hand is
    near the middle."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.tensor([0.7, 0.25, 0.05])
    kinds = shares.multinomial(count * 32, replacement=True, generator=generator)
    kinds = rearrange(kinds, "(b T H W) -> b T H W", T=2, H=4, W=4)
    for axis, times in ((1, 2), (2, 4), (3, 4)):
        kinds = kinds.repeat_interleave(times, dim=axis)
    clips = torch.randint(256, (count, 4, 3, 16, 16), generator=generator).byte()
    hand = 0.4 + 0.2 * torch.rand(count, 4, 2, generator=generator)
    return DenseClips(clips, kinds.byte(), hand, NAMES)


def telling_tokens(clips: DenseClips) -> torch.Tensor:
    """Tokens that hold the kind and the distance in a random basis."""
    answers = [one_hot(kinds_of_tokens(clips, GRID), len(NAMES)), distances_of_tokens(clips, GRID)]
    basis = torch.randn(len(NAMES) + 1, 8, generator=torch.Generator().manual_seed(9))
    T, H, W = GRID
    return rearrange(torch.cat(answers, dim=-1) @ basis, "b (T H W) d -> b T H W d", T=T, H=H, W=W)


def shuffled(tokens: torch.Tensor) -> torch.Tensor:
    flat = tokens.flatten(0, 3)
    order = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))
    return flat[order].view_as(tokens)


def test_tokens_that_hold_the_answer_give_it():
    fit = dense_clips(40, 0)
    score = dense_clips(20, 1)
    scores = read_out_alone(telling_tokens(fit), fit, telling_tokens(score), score)
    assert scores["kind_recall"] == scores["kind_accuracy"] == 1.0
    assert scores["hand_r2"] > 0.999


def test_shuffled_tokens_fall_to_chance():
    fit = dense_clips(200, 0)
    score = dense_clips(200, 1)
    scores = read_out_alone(shuffled(telling_tokens(fit)), fit, shuffled(telling_tokens(score)), score)
    assert scores["kind_recall"] == pytest.approx(1 / 3, abs=0.05)
    majority = (kinds_of_tokens(score, GRID) == 0).float().mean()
    assert scores["kind_accuracy"] == pytest.approx(float(majority), abs=0.01)
    assert abs(scores["hand_r2"]) < 0.01


def test_a_rare_kind_is_guessed_for_the_recall_and_not_for_the_accuracy():
    fit = dense_clips(200, 0)
    score = dense_clips(200, 1)
    generator = torch.Generator().manual_seed(2)
    noisy = [
        tokens + 5 * torch.randn(tokens.shape, generator=generator)
        for tokens in (telling_tokens(fit), telling_tokens(score))
    ]
    scores = read_out_alone(noisy[0], fit, noisy[1], score)
    # Where all tokens count alike, the most frequent kind is guessed nearly always, which recalls a third.
    assert scores["kind_recall"] > 0.5
    assert scores["kind_accuracy"] > float((kinds_of_tokens(score, GRID) == 0).float().mean())


def test_a_place_alone_gives_the_mean_of_each_place():
    fit = dense_clips(200, 0)
    score = dense_clips(50, 1)
    grid = (1, 4, 4)  # one moment, because places are not those of moments
    found = read_out_alone(place_tokens(200, grid), fit, place_tokens(50, grid), score)["hand_r2"]
    distances = distances_of_tokens(score, grid)
    means = distances_of_tokens(fit, grid).mean(dim=0, keepdim=True).expand_as(distances)
    assert found == pytest.approx(explained(means, distances), abs=0.01)
    assert found > 0.5


def test_an_encoder_is_read_alone_and_with_the_place():
    encoder = Encoder(EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=4, tubelet=2)).eval()
    scores = dense_read_out(encoder, dense_clips(30, 0), dense_clips(10, 1))
    names = ("kind_recall", "kind_accuracy", "hand_r2")
    assert list(scores) == [*names, *(f"{name}_with_place" for name in names)]
    assert scores["hand_r2_with_place"] > 0.5 > scores["hand_r2"]


def test_controls_know_no_encoder():
    fit = dense_clips(40, 0)
    score = dense_clips(20, 1)
    controls = dense_controls(fit, score, GRID)
    assert controls["chance"] == pytest.approx(1 / 3)
    assert 0.6 < controls["majority"] < 0.8
    assert controls["place_hand_r2"] > 0.5 > controls["pixels_hand_r2"]


def test_pixels_are_those_of_the_token():
    clips = dense_clips(2, 0).clips
    token = pixel_tokens(clips, GRID)[1, 1, 2, 3]
    torch.testing.assert_close(token, clips[1, 2:4, :, 8:12, 12:16].flatten() / 255)


def test_the_place_comes_after_the_token():
    tokens = torch.randn(2, *GRID, 5)
    placed = with_place(tokens)
    torch.testing.assert_close(placed[..., :5], tokens)
    assert placed[0, 1, 2, 3, 5:].nonzero().tolist() == [[2 * 4 + 3]]


# -- targets of tokens ---------------------------------------------------------------------------------------


def test_a_token_shows_what_most_of_its_pixels_show():
    clips = dense_clips(1, 0)
    kinds = torch.zeros_like(clips.kinds)
    kinds[0, 0, 4:8, 8:12] = 1  # 16 of the 32 pixels of a token: its first frame
    kinds[0, 1, 4, 8] = 1  # and one of the second
    kinds[0, 2, 0, 0] = 2
    shown = kinds_of_tokens(DenseClips(clips.clips, kinds, clips.hand, NAMES), GRID)
    assert shown.nonzero().tolist() == [[0, 1 * 4 + 2]]
    assert shown[0, 6] == 1


def test_distances_are_from_the_middle_of_the_token():
    clips = dense_clips(1, 0)
    hand = torch.tensor([[[0.375, 0.625], [0.375, 0.625], [0.375, 0.625], [0.375, 0.125]]])
    distances = distances_of_tokens(DenseClips(clips.clips, clips.kinds, hand, NAMES), GRID)
    assert distances[0, 1 * 4 + 2, 0] == 0  # of the first tubelet
    assert distances[0, 1 * 4 + 0, 0] == 0.5
    assert distances[0, 16 + 1 * 4 + 2, 0] == 0.25  # the mean of two frames


def test_frames_that_do_not_divide_into_tokens_are_refused():
    with pytest.raises(UserError, match=r"\(4, 16, 16\).*do not divide into \(2, 5, 4\)"):
        kinds_of_tokens(dense_clips(1, 0), (2, 5, 4))


def test_a_kind_that_is_not_fitted_is_refused():
    fit = dense_clips(5, 0)
    fit = DenseClips(fit.clips, fit.kinds.clamp(max=1), fit.hand, NAMES)
    score = dense_clips(5, 1)
    with pytest.raises(UserError, match="no token shows hand"):
        read_out_alone(place_tokens(5, GRID), fit, place_tokens(5, GRID), score)


def test_kinds_have_equal_shares_of_the_weight():
    kinds = torch.tensor([[0, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 0]])
    shares = equal_shares(kinds)
    assert shares.mean() == pytest.approx(1.0)
    assert shares[kinds == 0].sum() == pytest.approx(float(shares[kinds == 2].sum()))


def test_one_guess_for_all_has_the_recall_of_chance():
    kinds = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 3]])
    assert mean_recall(torch.zeros_like(kinds), kinds) == pytest.approx(1 / 3)
    assert mean_recall(kinds, kinds) == 1.0


# -- the regression ------------------------------------------------------------------------------------------


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_ridge_equals_the_normal_equations():
    x = noise(20, 7, 5) * 3 + 1
    targets = x @ noise(5, 2, seed=1) + noise(20, 7, 2, seed=2)
    at = noise(4, 7, 5, seed=3)
    weights = torch.ones(20, 7)

    rows = rearrange((x - x.mean((0, 1))) / x.std((0, 1), correction=0), "b n f -> (b n) f").double()
    centred = rearrange(targets - targets.mean((0, 1)), "b n k -> (b n) k").double()
    folds = [
        moments(a[:, None].float(), b[:, None].float(), torch.ones(len(a), 1))
        for a, b in zip(rows.chunk(5), centred.chunk(5), strict=True)
    ]
    penalty = best_penalty(folds) * len(rows)  # standardised features have a mean square of 1
    solved = torch.linalg.solve(rows.T @ rows + penalty * torch.eye(5).double(), rows.T @ centred)
    expected = (at - x.mean((0, 1))) / x.std((0, 1), correction=0) @ solved.float() + targets.mean((0, 1))
    torch.testing.assert_close(token_ridge(x, targets, weights, at), expected, atol=1e-4, rtol=1e-4)


def test_errors_from_moments_are_squared_errors():
    x = noise(6, 4, 3)
    targets = noise(6, 4, 2, seed=1)
    weights = noise(6, 4, seed=2).exp()
    coefficients = noise(3, 2, seed=3).double()
    errors = weights[..., None] * (x.double() @ coefficients - targets).square()
    assert moments(x, targets, weights).error(coefficients) == pytest.approx(float(errors.sum()))


def test_a_token_of_weight_two_counts_as_two_tokens():
    x = noise(20, 3, 4)
    targets = noise(20, 3, 1, seed=1)
    at = noise(5, 4, 4, seed=2)
    weights = torch.tensor([2.0, 1.0, 0.0, 1.0]).expand(20, 4)
    order = [0, 1, 2, 2]  # the third token has no weight, but the fourth is the same
    twice = [0, 0, 1, 2]
    weighted = token_ridge(x[:, order], targets[:, order], weights, at)
    repeated = token_ridge(x[:, twice], targets[:, twice], torch.ones(20, 4), at)
    torch.testing.assert_close(weighted, repeated, atol=1e-5, rtol=1e-4)


def test_a_clip_is_never_fitted_and_held_out_at_once():
    # All tokens of a clip are the same, and clips tell nothing of the targets. A token would be foretold well
    # from the others of its clip; from other clips it is not, so the penalty has to be large.
    x = noise(40, 1, 30).expand(40, 20, 30)
    targets = noise(40, 1, 10, seed=1).expand(40, 20, 10)
    found = token_ridge(x, targets, torch.ones(40, 20), x)
    assert explained(found, targets) < 0.3
    assert explained(x @ torch.linalg.lstsq(x[:, 0], targets[:, 0]).solution, targets) > 0.6

"""Laws of the read-outs: they find a signal, find nothing in noise, and do not depend on scale or order."""

import csv

import pytest
import torch

from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.evaluation.attentive import attentive_accuracy
from vjepa.evaluation.labelled_clips import LabelledClips, read_labelled_clips
from vjepa.evaluation.linear import best_penalty, few_label_accuracy, linear_accuracy, linear_r2, pool, ridge
from vjepa.evaluation.readouts import ReadOutConfig, encode, read_out
from vjepa.models.encoder import Encoder, EncoderConfig

CLASSES = 4
WIDTH = 24
CLIP = ClipConfig(frames=2, fps=5.0, size=16)


def features(clips: int, signal: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and labels; the class shows with strength `signal` along directions that are the same for every
    seed."""
    directions = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (clips,), generator=generator)
    return torch.randn(clips, WIDTH, generator=generator) + signal * directions[labels], labels


@pytest.mark.parametrize(("signal", "low", "high"), [(2.0, 0.95, 1.0), (0.0, 0.1, 0.4)])
def test_linear_read_outs_find_a_signal_and_nothing_in_noise(signal, low, high):
    data = (*features(400, signal, 0), *features(400, signal, 1))
    assert low <= linear_accuracy(*data) <= high
    assert low - 0.1 <= few_label_accuracy(*data, few=10, draws=3) <= high


def test_rows_without_a_label_do_not_count():
    fit = features(200, 2.0, 0)
    x, labels = features(100, 2.0, 1)
    more = torch.cat([x, torch.randn(50, WIDTH)])
    hidden = torch.cat([labels, torch.full((50,), -1)])
    assert linear_accuracy(*fit, more, hidden) == linear_accuracy(*fit, x, labels)


def test_scale_and_offset_of_features_do_not_matter():
    x, x_labels = features(200, 0.5, 0)
    y, y_labels = features(200, 0.5, 1)
    scale = torch.rand(WIDTH) * 100 + 1
    offset = torch.randn(WIDTH) * 10
    scaled = linear_accuracy(x * scale + offset, x_labels, y * scale + offset, y_labels)
    assert scaled == linear_accuracy(x, x_labels, y, y_labels)


def test_ridge_equals_the_normal_equations():
    x, _ = features(60, 0.0, 0)
    at, _ = features(5, 0.0, 1)
    targets = x @ torch.randn(WIDTH, 2) + 0.1 * torch.randn(60, 2)
    centred = targets - targets.mean(0)

    z = (x - x.mean(0)) / x.std(0)
    kernel = z @ z.T
    penalty = best_penalty(kernel, centred) * kernel.diagonal().mean()
    weights = torch.linalg.solve(z.T @ z + penalty * torch.eye(WIDTH), z.T @ centred)
    expected = (at - x.mean(0)) / x.std(0) @ weights + targets.mean(0)
    torch.testing.assert_close(ridge(x, targets, at), expected, atol=1e-3, rtol=1e-3)


def test_noisier_targets_get_a_larger_penalty():
    x = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    signal = x[:, :1]
    noise = torch.randn(100, 1, generator=torch.Generator().manual_seed(1))
    assert best_penalty(x @ x.T, signal) < best_penalty(x @ x.T, noise)


def test_regression_explains_what_it_can():
    x, _ = features(300, 0.0, 0)
    y, _ = features(300, 0.0, 1)
    weights = torch.randn(WIDTH, 3)
    assert linear_r2(x, x @ weights, y, y @ weights) > 0.99
    assert linear_r2(x, torch.randn(300, 3), y, torch.randn(300, 3)) < 0.05


def one_telling_token(clips: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The class is written into one token at a random place: invisible to the mean, plain to attention."""
    vectors, labels = features(clips, 3.0, seed)
    tokens = 0.1 * torch.randn(clips, 6, WIDTH)
    tokens[torch.arange(clips), torch.randint(6, (clips,))] = vectors
    return tokens, labels


def test_an_attentive_read_out_finds_the_one_telling_token():
    torch.manual_seed(0)
    data = (*one_telling_token(300, 0), *one_telling_token(100, 1))
    before = torch.get_rng_state()
    accuracy = attentive_accuracy(*data, steps=150, lr=3e-3)
    assert accuracy > 0.8
    assert torch.equal(torch.get_rng_state(), before)  # a read-out must not disturb the training around it
    assert attentive_accuracy(*data, steps=150, lr=3e-3) == accuracy


def test_cells_keep_time_and_place():
    tokens = torch.arange(2 * 3 * 4 * 4).float().reshape(2, 3, 4, 4, 1)
    torch.testing.assert_close(pool(tokens, 1), tokens.mean(dim=(2, 3))[..., 0])
    assert pool(tokens, 2).shape == (2, 3 * 4)
    assert pool(tokens, 9).shape == (2, 3 * 16)


def test_encoding_in_batches_equals_encoding_at_once():
    encoder = Encoder(EncoderConfig(width=16, depth=1, heads=2, mlp_width=16, patch=8)).eval()
    clips = torch.randint(0, 255, (40, 2, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(encode(encoder, clips)[35:], encode(encoder, clips[35:]))


def labelled(count: int, **columns: list) -> LabelledClips:
    return LabelledClips(torch.empty(count, 1, 3, 8, 8).byte(), columns)


def test_columns_become_classes_and_numbers():
    clips = labelled(4, colour=["red", "", "blue", "red"], x=[1, "2", 3.5, 0])
    assert clips.names("colour") == ["blue", "red"]
    assert clips.classes("colour", ["blue", "green", "red"]).tolist() == [2, -1, 0, 2]
    with pytest.raises(UserError, match=r"colour holds \['blue'\] where read-outs are scored"):
        clips.classes("colour", ["green", "red"])
    assert clips.numbers(["x"]).tolist() == [[1.0], [2.0], [3.5], [0.0]]


def test_columns_that_cannot_be_read_are_refused():
    clips = labelled(2, label=[-1, -1], one=["a", "a"], x=["1", "far"])
    for name in ("label", "one"):
        with pytest.raises(UserError, match=f"column {name} tells no two classes apart"):
            clips.names(name)
    with pytest.raises(UserError, match="column x is regressed, but holds 'far'"):
        clips.numbers(["x"])


def test_a_missing_column_is_named(clips_manifest):
    with pytest.raises(UserError, match="has no column shade"):
        read_labelled_clips(str(clips_manifest), CLIP, 4, ("label", "shade"))


def test_every_read_out_has_a_name(clips_manifest):
    rows = list(csv.DictReader(clips_manifest.open()))
    manifest = clips_manifest.parent / "read.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "x"])
        writer.writeheader()
        writer.writerows({**row, "x": index} for index, row in enumerate(rows))
    clips = read_labelled_clips(str(manifest), CLIP, 8, ("label", "x"))
    encoder = Encoder(EncoderConfig(width=16, depth=1, heads=4, mlp_width=16, patch=8)).eval()

    scores = read_out(
        encoder, clips, clips, ReadOutConfig(numbers=("x",), cells=(1, 2), few=2, attentive_steps=2)
    )
    linear = {
        f"{name}{cells}" for name in ("label_linear", "label_few", "numbers_r2") for cells in ("", "_2x2")
    }
    assert set(scores) == {*linear, "label_attentive"}


@pytest.mark.parametrize(
    "settings", [{"cells": (0,)}, {"few": -1}, {"draws": 0}, {"attentive_steps": -1}, {"attentive_lr": 0.0}]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(UserError, match="readout"):
        ReadOutConfig(**settings)

"""Laws of the read-outs: they find what is there, nothing where nothing is, and do not depend on what they should not."""

import csv

import pytest
import torch

from vjepa.data.clips import ClipConfig
from vjepa.errors import UserError
from vjepa.evaluation.linear import best_penalty, explained, few_label_accuracy, linear_accuracy, pool, ridge
from vjepa.evaluation.readouts import (
    LabelledClips,
    ReadOutConfig,
    attentive_accuracy,
    encode,
    labelled_clips,
    read_out,
)
from vjepa.models.encoder import Encoder, EncoderConfig

CLASSES, WIDTH = 4, 24


def features(clips: int, signal: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, in which the class shows with some strength along directions that are the same for every seed."""
    directions = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(CLASSES, (clips,), generator=generator)
    return torch.randn(clips, WIDTH, generator=generator) + signal * directions[label], label


def test_linear_read_outs_find_a_signal_and_nothing_in_noise():
    for signal, low, high in ((2.0, 0.95, 1.0), (0.0, 0.1, 0.4)):
        (x, label), (y, wanted) = features(400, signal, 0), features(400, signal, 1)
        assert low <= linear_accuracy(x, label, y, wanted) <= high
        assert low - 0.1 <= few_label_accuracy(x, label, y, wanted, few=10, draws=3) <= high


def test_rows_without_a_label_do_not_count():
    (x, label), (y, wanted) = features(200, 2.0, 0), features(100, 2.0, 1)
    hidden = torch.cat([wanted, torch.full((50,), -1)])
    assert linear_accuracy(x, label, torch.cat([y, torch.randn(50, WIDTH)]), hidden) == linear_accuracy(
        x, label, y, wanted
    )


def test_scale_and_offset_of_features_do_not_matter():
    (x, label), (y, wanted) = features(200, 0.5, 0), features(200, 0.5, 1)
    scale, offset = torch.rand(WIDTH) * 100 + 1, torch.randn(WIDTH) * 10
    assert linear_accuracy(x * scale + offset, label, y * scale + offset, wanted) == linear_accuracy(
        x, label, y, wanted
    )


def test_ridge_equals_the_normal_equations():
    (x, _), (y, _) = features(60, 0.0, 0), features(5, 0.0, 1)
    target = x @ torch.randn(WIDTH, 2) + 0.1 * torch.randn(60, 2)
    z, w = (x - x.mean(0)) / x.std(0), (y - x.mean(0)) / x.std(0)
    kernel = z @ z.T
    penalty = best_penalty(kernel, target - target.mean(0)) * kernel.diagonal().mean()
    weights = torch.linalg.solve(z.T @ z + penalty * torch.eye(WIDTH), z.T @ (target - target.mean(0)))
    torch.testing.assert_close(ridge(x, target, y), w @ weights + target.mean(0), atol=1e-3, rtol=1e-3)


def test_noisier_targets_get_a_larger_penalty():
    x = torch.randn(100, 200, generator=torch.Generator().manual_seed(0))
    signal, noise = x[:, :1], torch.randn(100, 1, generator=torch.Generator().manual_seed(1))
    assert best_penalty(x @ x.T, signal) < best_penalty(x @ x.T, noise)


def test_regression_explains_what_it_can():
    (x, _), (y, _) = features(300, 0.0, 0), features(300, 0.0, 1)
    weights = torch.randn(WIDTH, 3)
    assert explained(x, x @ weights, y, y @ weights) > 0.99
    assert explained(x, torch.randn(300, 3), y, torch.randn(300, 3)) < 0.05


def test_an_attentive_read_out_finds_the_one_telling_token():
    """The class is written into one token at a random place: invisible to the mean, plain to attention."""

    def clips(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        vectors, label = features(count, 3.0, seed)
        tokens = 0.1 * torch.randn(count, 6, WIDTH)
        tokens[torch.arange(count), torch.randint(6, (count,))] = vectors
        return tokens, label

    torch.manual_seed(0)
    (x, label), (y, wanted) = clips(300, 0), clips(100, 1)
    before = torch.get_rng_state()
    config = ReadOutConfig(attentive_steps=150)
    assert attentive_accuracy(x, label, y, wanted, config) > 0.8
    assert torch.equal(torch.get_rng_state(), before)  # a read-out must not disturb the training around it
    assert attentive_accuracy(x, label, y, wanted, config) == attentive_accuracy(x, label, y, wanted, config)


def test_cells_keep_time_and_place():
    tokens = torch.arange(2 * 3 * 4 * 4).float().reshape(2, 3, 4, 4, 1)
    torch.testing.assert_close(pool(tokens, 1), tokens.mean(dim=(2, 3))[..., 0])
    assert pool(tokens, 2).shape == (2, 3 * 4) and pool(tokens, 9).shape == (2, 3 * 16)


def test_encoding_in_batches_equals_encoding_at_once():
    encoder = Encoder(EncoderConfig(width=16, depth=1, heads=2, mlp_width=16, patch=8)).eval()
    clips = torch.randint(0, 255, (40, 2, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(encode(encoder, clips)[35:], encode(encoder, clips[35:]))


def test_columns_become_classes_and_numbers():
    clips = LabelledClips(
        torch.empty(4, 1, 3, 8, 8).byte(), {"colour": ["red", "", "blue", "red"], "x": [1, "2", 3.5, 0]}
    )
    assert clips.names("colour") == ["blue", "red"]
    assert clips.classes("colour", ["blue", "green", "red"]).tolist() == [2, -1, 0, 2]
    with pytest.raises(UserError, match=r"colour holds \['blue'\] where read-outs are scored"):
        clips.classes("colour", ["green", "red"])
    assert clips.numbers(["x"]).tolist() == [[1.0], [2.0], [3.5], [0.0]]


def test_a_missing_column_is_named(clips_manifest):
    with pytest.raises(UserError, match="has no column shade"):
        labelled_clips(str(clips_manifest), ClipConfig(frames=2, fps=5.0, size=16), 4, ("label", "shade"))


def test_every_read_out_has_a_name(clips_manifest, tmp_path):
    rows = list(csv.DictReader(clips_manifest.open()))
    manifest = clips_manifest.parent / "read.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "x"])
        writer.writeheader()
        writer.writerows({**row, "x": index} for index, row in enumerate(rows))
    clips = labelled_clips(str(manifest), ClipConfig(frames=2, fps=5.0, size=16), 8, ("label", "x"))
    encoder = Encoder(EncoderConfig(width=16, depth=1, heads=4, mlp_width=16, patch=8)).eval()
    found = read_out(
        encoder, clips, clips, ReadOutConfig(numbers=("x",), cells=(1, 2), few=2, attentive_steps=2)
    )
    names = {
        "label_linear",
        "label_few",
        "numbers_r2",
        "label_linear_2x2",
        "label_few_2x2",
        "numbers_r2_2x2",
        "label_attentive",
    }
    assert set(found) == names


def test_columns_that_cannot_be_read_are_refused():
    clips = LabelledClips(
        torch.empty(2, 1, 3, 8, 8).byte(), {"label": [-1, -1], "one": ["a", "a"], "x": ["1", "far"]}
    )
    for name in ("label", "one"):
        with pytest.raises(UserError, match=f"column {name} tells no two classes apart"):
            clips.names(name)
    with pytest.raises(UserError, match="column x is regressed, but holds 'far'"):
        clips.numbers(["x"])


@pytest.mark.parametrize(
    "wrong", [{"cells": (0,)}, {"few": -1}, {"draws": 0}, {"attentive_steps": -1}, {"attentive_lr": 0.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(UserError, match="readout"):
        ReadOutConfig(**wrong)

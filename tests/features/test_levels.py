"""Predictions and looks of encoders with levels, and of distilled ones."""

from dataclasses import replace

import pytest
import torch

from vjepa.errors import UserError
from vjepa.features.look_predictions import load_forecaster
from vjepa.features.surprise import write_surprise
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export, predictor_part
from vjepa.weights.load import load_encoder

LEVELS = EncoderConfig(width=24, depth=3, heads=2, mlp_width=48, patch=8, levels=(0, 2), init_std=0.2)
DENSE = PredictorConfig(width=12, depth=1, heads=2, mlp_width=24, dense=True)


@pytest.fixture
def written(tmp_path):
    def write(predictor: PredictorConfig):
        torch.manual_seed(0)
        networks = Encoder(LEVELS), Predictor(predictor, LEVELS)
        parts = {"ema": encoder_part(networks[0]), "predictor": predictor_part(networks[1], LEVELS)}
        export(tmp_path / "weights.safetensors", parts, {})
        return tmp_path / "weights.safetensors"

    return write


def test_errors_are_those_of_the_last_level(written):
    source = written(DENSE)
    forecaster = load_forecaster(source, read_card(source), load_encoder(source).eval())
    clip = torch.randint(0, 255, (8, 3, 16, 16), dtype=torch.uint8)
    errors = forecaster.errors(clip)
    assert errors.predicted.shape == errors.unchanged.shape == (2, 2, 2)
    # A still video does not change, so the baseline is nearly right.
    still = forecaster.errors(clip[:1].expand(8, -1, -1, -1))
    assert still.unchanged.mean() < errors.unchanged.mean()


def test_errors_of_a_teachers_tokens_are_left_out(written, capsys):
    source = written(replace(DENSE, target_width=24))
    assert load_forecaster(source, read_card(source), load_encoder(source)) is None
    assert "predicts a teacher's tokens, so its errors are left out" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds a distilled encoder"):
        write_surprise([], source, source.with_suffix(".csv"), "cpu")

"""What leaves no trace in a file of Meta's is taken of published sizes, with a word, and never guessed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.weights.meta_files import meta_ac_predictor, meta_encoder, meta_predictor, meta_probe
from tests.weights.test_families import LEVELS, SMALL, networks, networks21, told
from vjepa.errors import announce
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.training.warm_start import read_networks
from vjepa.weights.files import CheckpointError
from vjepa.weights.info import card_or_error
from vjepa.weights.load import load_ac_predictor, load_encoder, load_predictor, load_probe
from vjepa.weights.part_files import part_files

LOADERS = {"predictor": load_predictor, "ac_predictor": load_ac_predictor, "probe": load_probe}


def file_of(part: str, width: int, path: Path) -> Path:
    """A file of one network of that width, with 2 heads, under Meta's names."""
    encoder = EncoderConfig(width=48, depth=1, heads=2, mlp_width=48, patch=8)
    if part == "predictor":
        made = Predictor(PredictorConfig(width=width, depth=1, heads=2, mlp_width=8), encoder)
        content = {"predictor": meta_predictor(made)}
    elif part == "ac_predictor":
        made = ACPredictor(ACPredictorConfig(width=width, depth=1, heads=2, mlp_width=8), encoder)
        content = {"predictor": meta_ac_predictor(made)}
    else:
        content = {"classifiers": [meta_probe(AttentiveProbe(ProbeConfig(1, 2), width, 3))]}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("part", "width", "heads"), [("predictor", 384, 12), ("ac_predictor", 1024, 16), ("probe", 768, 16)]
)
def test_heads_are_taken_of_published_widths_and_given_of_others(tmp_path, capsys, part, width, heads):
    announce.cache_clear()
    load = LOADERS[part]
    usual = file_of(part, width, tmp_path / "usual.pt")
    assert load(usual).config.heads == heads
    note = f"{usual} does not say the heads of its {part}; {heads} are taken, as is usual at width {width}"
    assert note in capsys.readouterr().err
    assert load(usual, heads=2).config.heads == 2 and capsys.readouterr().err == ""

    own = file_of(part, 48, tmp_path / "own.pt")
    sentence = told(load, own)
    assert (
        "its heads are unknown; pass heads= in Python" in sentence and "--unsaid.predictor_heads" in sentence
    )
    assert load(own, heads=2).config.heads == 2
    assert "heads are unknown" in str(card_or_error(own))


def test_a_published_name_says_the_heads_without_a_word(tmp_path, capsys):
    announce.cache_clear()
    assert load_probe(file_of("probe", 1024, tmp_path / "ssv2-vitl-16x2x3.pt")).config.heads == 16
    assert capsys.readouterr().err == ""


def test_a_predictor_whose_heads_are_unknown_is_named_beside_the_others(tmp_path):
    torch.save(networks(), tmp_path / "own.pt")
    card = card_or_error(tmp_path / "own.pt")
    assert card.parts == ("student", "ema") or set(card.parts) == {"student", "ema"}
    assert "predictor cannot be loaded" in str(card) and "heads are unknown" in str(card)
    recipe = PredictorConfig(width=24, depth=1, heads=6, mlp_width=48)
    assert read_networks(tmp_path / "own.pt", predictor=recipe)[0]["predictor"]["heads"] == 6


@pytest.mark.parametrize("heads", [True, 0, "3", -3, 10**30, 2.0, [2]])
def test_heads_that_no_network_has_are_a_wrong_argument(tmp_path, heads):
    torch.save(networks(), tmp_path / "own.pt")
    for load in (load_encoder, *LOADERS.values()):
        with pytest.raises(CheckpointError, match=r"heads=.*: give a whole number from 1 to") as caught:
            load(tmp_path / "own.pt", heads=heads)
        assert "damaged" not in str(caught.value)


@pytest.mark.parametrize("levels", [3, (2.0, 3.0), (), "01", (True,), (-1, 1), [[0]]])
def test_levels_that_no_network_has_are_a_wrong_argument(tmp_path, levels):
    torch.save(networks21(), tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match=r"levels=.*: give numbers of blocks") as caught:
        load_encoder(tmp_path / "own.pt", levels=levels)
    assert "damaged" not in str(caught.value)
    assert load_encoder(tmp_path / "own.pt", levels=[0, 1]).config == LEVELS


@pytest.mark.parametrize("weights", ["EMA", "", None, 1, "predictor", ["ema"]])
def test_other_weights_than_the_two_encoders_are_refused(tmp_path, weights):
    torch.save(networks(), tmp_path / "own.pt")
    with pytest.raises(CheckpointError, match="weights=.* is not known; give ema or student"):
        load_encoder(tmp_path / "own.pt", weights)


@pytest.mark.parametrize("source", ["", "  "])
def test_an_empty_name_is_not_the_current_folder(source):
    for load in (load_encoder, part_files):
        with pytest.raises(CheckpointError, match="name of a source of weights is empty"):
            load(source)


def test_a_predictor_has_the_patches_of_the_encoder_beside_it(tmp_path, capsys):
    announce.cache_clear()
    encoder = replace(LEVELS, patch=14, rope_grid=18)
    predictor = Predictor(PredictorConfig(width=24, depth=1, heads=2, mlp_width=8, dense=True), encoder)
    content = {"predictor": meta_predictor(predictor)}
    torch.save(content | {"target_encoder": meta_encoder(Encoder(encoder))}, tmp_path / "both.pt")
    torch.save(content, tmp_path / "alone.pt")
    assert load_predictor(tmp_path / "both.pt", heads=2).rope_grid == 18
    assert "patches" not in capsys.readouterr().err
    assert load_predictor(tmp_path / "alone.pt", heads=2).rope_grid == 16
    assert "patches of 16 px are taken" in capsys.readouterr().err


@pytest.mark.parametrize("classifiers", [[], (), {"a": {}}, {}, 3])
def test_classifiers_that_are_no_list_are_one_sentence(tmp_path, classifiers):
    torch.save({"classifiers": classifiers}, tmp_path / "probe.pt")
    for reader in (load_probe, card_or_error):
        sentence = told(load_probe, tmp_path / "probe.pt")
        assert "IndexError" not in sentence and "KeyError" not in sentence
    with_encoder = {"classifiers": [], "target_encoder": meta_encoder(Encoder(SMALL))}
    torch.save(with_encoder, tmp_path / "vjepa2.pt")
    assert load_encoder(tmp_path / "vjepa2.pt").config == SMALL

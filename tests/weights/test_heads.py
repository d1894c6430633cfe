"""What leaves no trace in a file of Meta's is taken of published sizes, with a word, and never guessed."""

import subprocess
import sys
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
from vjepa.weights.card import read_card
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


WRONG = {
    "heads": [True, 0, "3", -3, 10**30, 2.0, [2]],
    "levels": [3, (2.0, 3.0), (), "01", (True,), (-1, 1), [[0]]],
    "weights": ["EMA", "", None, 1, "predictor", ["ema"]],
}
"""Argument of `load_encoder` -> values that it never has."""


def test_wrong_arguments_are_named_as_such(tmp_path):
    """In a process of its own, since the tests' check of types would refuse most of them earlier."""
    torch.save(networks21(), tmp_path / "own.pt")
    code = (
        "from vjepa.weights.files import CheckpointError\nfrom vjepa.weights.load import *\n"
        f"for name, values in {WRONG!r}.items():\n"
        "    for value in values:\n"
        "        others = (load_predictor, load_probe, load_ac_predictor) if name == 'heads' else ()\n"
        "        for load in (load_encoder, *others):\n"
        "            try: load('own.pt', **{name: value})\n"
        "            except CheckpointError as error: print(name, error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = told.stdout.splitlines()
    assert len(lines) == 4 * len(WRONG["heads"]) + len(WRONG["levels"]) + len(WRONG["weights"])
    assert all(line.startswith(f"{line.split()[0]} own.pt: {line.split()[0]}=") for line in lines)
    assert all("give " in line and "damaged" not in line for line in lines) and told.stderr == ""


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
    for reader in (load_probe, read_card):
        sentence = told(reader, tmp_path / "probe.pt")
        assert "IndexError" not in sentence and "it lacks" not in sentence
    with_encoder = {"classifiers": [], "target_encoder": meta_encoder(Encoder(SMALL))}
    torch.save(with_encoder, tmp_path / "vjepa2.pt")
    assert load_encoder(tmp_path / "vjepa2.pt").config == SMALL

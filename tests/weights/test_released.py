"""What the published names say, and which classifier of several is read: never a silent guess."""

import re

import pytest
import torch

from tests.weights.meta_files import meta_encoder, meta_probe
from tests.weights.test_families import LEVELS, SMALL, WIDTH, networks, networks21, same
from vjepa.errors import announce
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.weights import released as table
from vjepa.weights.card import read_card
from vjepa.weights.export import encoder_part, export, probe_part
from vjepa.weights.facts import ClipFacts
from vjepa.weights.files import CheckpointError
from vjepa.weights.info import info
from vjepa.weights.load import load_encoder, load_probe
from vjepa.weights.released import RELEASED, Released, released, released_file

PROBES = [AttentiveProbe(ProbeConfig(2, 16), 32, 5) for _ in range(3)]
CLASSIFIERS = {"classifiers": [meta_probe(probe) for probe in PROBES], "opt": [{}], "epoch": 20}


@pytest.fixture(autouse=True)
def anew():
    announce.cache_clear()


@pytest.fixture
def published(monkeypatch):
    """The table with small models in it, whose files a test can write."""
    small = (
        Released("vitx.pt", "V-JEPA 2", (WIDTH, 1), 64, 16, licence="CC0-1.0"),
        Released("vjepa2_1_vitx.pt", "V-JEPA 2.1", (WIDTH, 2), 96),
        Released("ssv2-vitx.pt", "probe, SSv2", (32, 1), 64, 16),
    )
    monkeypatch.setattr(table, "RELEASED", small)
    return small


def test_the_table_is_what_is_published():
    names = [model.file for model in RELEASED]
    assert len(set(names)) == len(names) and released_file("vitG.pt") is None
    assert released_file("/away/vjepa2_1_vitg_384.pt").encoder == (1408, 40)
    assert released_file("vjepa2_1_vitG_384.pt").levels == (11, 23, 37, 47)
    assert released_file("vitl.pt").rope == "released" and released_file("vitl.pt").levels == ()
    assert all(model.address.startswith("https://dl.fbaipublicfiles.com/vjepa2/") for model in RELEASED)
    assert all(model.encoder[0] % model.heads == 0 for model in RELEASED)
    # Nobody here has seen the files.
    assert {(model.file_bytes, model.digest) for model in RELEASED} == {(None, None)}


def test_the_command_prints_every_model_in_columns(capsys):
    released()
    heading, *lines = capsys.readouterr().out.splitlines()
    rows = lines[: len(RELEASED)]
    assert [re.split(r"  +", row)[0] for row in rows] == [model.file for model in RELEASED]
    place = heading.index("encoder")
    assert all(row[place - 1] == " " and row[place].isdigit() for row in rows)
    assert "? frames, 384 px" in rows[5] and "facebook/vjepa2-vitl-fpc64-256" in rows[0]


def test_a_published_name_tells_the_clip_and_the_heads(published, tmp_path, capsys):
    torch.save(networks(), tmp_path / "vitx.pt")
    info([tmp_path / "vitx.pt"])
    told = capsys.readouterr()
    assert "16 frames at 4 fps, 64 px" in told.out and "CC0-1.0" in told.out and told.err == ""
    assert "the clip is known by its name" in told.out
    assert load_encoder(tmp_path / "vitx.pt").config.heads == 6

    # The same networks under another name.
    torch.save(networks(), tmp_path / "own.pt")
    card = read_card(tmp_path / "own.pt")
    assert (card.clip, card.licence) == (None, None) and "do not say their clips" in card.notes[0]
    assert load_encoder(tmp_path / "own.pt").config == SMALL
    assert "own.pt does not say the heads of its encoder; 6 are taken" in capsys.readouterr().err
    assert load_encoder(tmp_path / "own.pt", heads=12).config.heads == 12
    assert capsys.readouterr().err == ""


def test_a_name_says_nothing_of_another_network(published, tmp_path):
    other = EncoderConfig(width=WIDTH, depth=2, heads=6, mlp_width=48, patch=8)
    torch.save({"target_encoder": meta_encoder(Encoder(other))}, tmp_path / "vitx.pt")
    assert read_card(tmp_path / "vitx.pt").clip is None


def test_what_is_not_published_is_not_made_up(published, tmp_path, capsys):
    torch.save(networks21(), tmp_path / "vjepa2_1_vitx.pt")
    card = read_card(tmp_path / "vjepa2_1_vitx.pt")
    assert card.clip is None
    assert card.notes[0] == (
        "by its name it was trained on frames of 96 px; their number of frames is not known"
    )
    torch.save(CLASSIFIERS, tmp_path / "ssv2-vitx.pt")
    assert (
        "16 frames of 64 px; their frame rate is not known" in read_card(tmp_path / "ssv2-vitx.pt").notes[0]
    )
    assert load_encoder(tmp_path / "vjepa2_1_vitx.pt").config == LEVELS


def test_levels_are_given_or_announced(tmp_path, capsys):
    deep = EncoderConfig(
        width=24,
        depth=12,
        heads=2,
        mlp_width=24,
        patch=8,
        rope="interleaved",
        rope_grid=32,
        levels=(2, 5, 8, 11),
    )
    torch.save({"target_encoder": meta_encoder(Encoder(deep))}, tmp_path / "own.pt")
    assert load_encoder(tmp_path / "own.pt", heads=2).config == deep
    assert "does not say which blocks its levels are; 2, 5, 8, 11 are taken" in capsys.readouterr().err
    announce.cache_clear()
    assert load_encoder(tmp_path / "own.pt", heads=2, levels=(0, 1, 2, 11)).config.levels == (0, 1, 2, 11)
    assert capsys.readouterr().err == ""


def test_a_clip_of_a_published_name_is_taken(published, tmp_path):
    torch.save(networks(), tmp_path / "vitx.pt")
    assert read_card(tmp_path / "vitx.pt").clip == ClipFacts(16, 4.0, 64)


@pytest.mark.usefixtures("published", "small_widths")
def test_one_of_several_classifiers_is_read_by_its_number(tmp_path, capsys):
    path = tmp_path / "ssv2-vitx.pt"
    torch.save(CLASSIFIERS, path)
    for number, probe in enumerate(PROBES):
        assert same(load_probe(path, head=number), probe)
    assert capsys.readouterr().err == ""
    assert same(load_probe(path), PROBES[0])
    assert f"{path} holds 3 classifiers; the first is read" in capsys.readouterr().err
    for head in (3, -1, True):
        with pytest.raises(CheckpointError, match=r"holds 3 classifiers, and head=.* is none; give 0 to 2"):
            load_probe(path, head=head)
    card = read_card(path)
    assert dict(card.details) == {
        "probe": "3 classifiers; the first is read unless load_probe has head=",
        "classes": "5",
    }
    assert "not read: opt, epoch (20)" in card.notes
    info([path])
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("small_widths")
def test_the_best_classifier_is_known_only_where_the_file_says(tmp_path):
    path = tmp_path / "probe.pt"
    torch.save(CLASSIFIERS, path)
    with pytest.raises(CheckpointError, match="holds 3 classifiers and does not say how accurate they are"):
        load_probe(path, head="best")
    said = {"val_acc_per_head": [0.1, 0.7, 0.3], "train_acc_per_head": [0.9, 0.1, 0.1]}
    for accuracies in (said, {"best_val_accs": torch.tensor([0.1, 0.7, 0.3])}):
        torch.save(CLASSIFIERS | accuracies, path)
        assert same(load_probe(path, head="best"), PROBES[1])
    for useless in ([0.1, 0.7], [0.1, float("nan"), 0.3], 0.7, ["a", "b", "c"], {}, torch.ones(3, 2)):
        torch.save(CLASSIFIERS | {"val_acc_per_head": useless}, path)
        with pytest.raises(CheckpointError, match="does not say"):
            load_probe(path, head="best")


@pytest.mark.usefixtures("published", "small_widths")
def test_a_single_classifier_needs_no_choice(tmp_path, capsys):
    torch.save({"classifiers": [meta_probe(PROBES[0])]}, tmp_path / "ssv2-vitx.pt")
    parts = {"ema": encoder_part(Encoder(SMALL)), "probe": probe_part(PROBES[0])}
    export(tmp_path / "own.safetensors", parts, {})
    for path in (tmp_path / "ssv2-vitx.pt", tmp_path / "own.safetensors"):
        for head in (None, 0, "best"):
            assert same(load_probe(path, head=head), PROBES[0])
        with pytest.raises(CheckpointError, match="holds 1 classifier, and head=2 is none; give 0, or leave"):
            load_probe(path, head=2)
    assert capsys.readouterr().err == ""

"""A card says what a file says, whoever wrote it, and what it does not say is None."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.weights import facts
from vjepa.weights.action_use import unused_sentence
from vjepa.weights.card import read_card
from vjepa.weights.details import acting_rows
from vjepa.weights.export import Part, encoder_part, export, read_acting
from vjepa.weights.facts import ActingFacts, ClipFacts, chosen
from vjepa.weights.files import CheckpointError, check_same_encoder, weights_digest
from vjepa.weights.info import info
from vjepa.weights.load import load_encoder

OLD = Path(__file__).parents[1] / "fixtures/export_before_the_rooms.safetensors"
SMALL = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8)
FACTS = {
    "stage": "cooldown",
    "steps": 300,
    "seed": 7,
    "clip": {"frames": 10, "fps": 5.0, "size": 64},
    "data": "0123456789ab",
    "licence": "CC0-1.0",
    "commit": "abc123",
    "scores": {"our encoder": 0.8},
}


@pytest.fixture
def written(tmp_path) -> Path:
    torch.manual_seed(0)
    export(tmp_path / "model.safetensors", {"ema": encoder_part(Encoder(SMALL))}, FACTS)
    return tmp_path / "model.safetensors"


def test_what_is_written_is_read(written, capsys):
    card = read_card(written)
    assert card.parts == ("ema",) and card.family == "vjepa"
    assert card.clip == ClipFacts(10, 5.0, 64)
    plain = ("stage", "steps", "seed", "data", "licence", "commit", "scores")
    assert {key: getattr(card, key) for key in plain} == {key: FACTS[key] for key in plain}
    info([written, OLD])
    shown = capsys.readouterr().out
    for text in ("10 frames at 5 fps, 64 px", "CC0-1.0", "our encoder 0.800", "0123456789ab", "pretrain"):
        assert text in shown


def test_scores_are_called_by_what_they_are(tmp_path):
    scores = {"our encoder": 0.8, "model, 8 ahead": 0.25}
    schema = {"names": ["x", "roll", "yaw"], "rotation": [1, 2], "centres": [3.0, 0.0]}
    parts = {
        "probe": Part(torch.nn.Linear(1, 1), {"schema": {"targets": "multilabel"}}),
        "ac_predictor": Part(torch.nn.Linear(1, 1), {"schema": schema, "scales": (1, 2)}),
    }
    export(tmp_path / "both.safetensors", parts, {"scores": scores})
    rows = read_card(tmp_path / "both.safetensors").rows()
    assert ("mean average precision", "our encoder 0.800") in rows
    assert ("error", "model, 8 ahead 0.250") in rows
    assert ("angles", "roll and yaw are kept within pi of 3, 0") in rows
    assert ("energy", "compares averages over squares of 1 x 1 and 2 x 2 tokens") in rows

    # A file without a probe does not say what its scores are.
    export(tmp_path / "ac.safetensors", {"ac_predictor": parts["ac_predictor"]}, {"scores": scores})
    assert ("score", "our encoder 0.800") in read_card(tmp_path / "ac.safetensors").rows()


def test_an_old_export_has_a_card_with_gaps():
    card = read_card(OLD)
    assert card.stage == "pretrain" and card.parts == ("ema", "predictor", "probe", "ac_predictor")
    assert (card.clip, card.data, card.licence, card.commit) == (None, None, None, None)
    assert card.acting.size == 16 and card.acting.scales is None and card.acting.encoder_digest is None


def test_a_hugging_face_directory_names_frames_and_size(tmp_path):
    config = {"model_type": "vjepa2", "frames_per_clip": 64, "crop_size": 256}
    config |= {"hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 1, "mlp_ratio": 4.0}
    config |= {"patch_size": 16, "tubelet_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {"encoder.a": torch.zeros(2, 3), "predictor.b": torch.zeros(4)}
    save_file(tensors, tmp_path / "model.safetensors")
    card = read_card(tmp_path)
    assert card.clip == ClipFacts(64, 4.0, 256)
    assert card.sizes == {"ema": 6, "predictor": 4} and "no frame rate" in card.notes[0]


def test_a_file_of_metas_says_which_networks_it_holds(tmp_path):
    networks = {
        "encoder": {"a": torch.zeros(5)},
        "predictor": {"module.action_encoder.weight": torch.zeros(2)},
    }
    torch.save(networks | {"epoch": 3}, tmp_path / "ac.pt")
    card = read_card(tmp_path / "ac.pt")
    assert card.sizes == {"student": 5, "ac_predictor": 2} and card.clip is None
    torch.save({"other": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no network that is known here but other"):
        read_card(tmp_path / "other.pt")


def test_acting_facts_go_through_a_file(tmp_path):
    use = {"all": 1.7, "x": None}
    acting = ActingFacts({"names": ["x"]}, 64, 4.0, (1, 2, 4), "enc.safetensors", "0123", "student", use)
    part = Part(torch.nn.Linear(1, 1), vars(acting) | {"config": {}, "encoder": {}})
    export(tmp_path / "ac.safetensors", {"ac_predictor": part}, {})
    assert read_card(tmp_path / "ac.safetensors").acting == acting


def test_a_card_says_whether_actions_are_used(tmp_path):
    use = {"all": 1.7042, "x": 1.172, "roll": None, "gripper": 1.0013}
    assert dict(acting_rows(ActingFacts(action_use=use)))["action use"] == (
        "shuffled actions make the error 1.70 times as large 1 action ahead; "
        "by dimension: x 1.17, roll does not vary, gripper 1.001"
    )
    # Files of older versions do not say it, and nothing is said of them.
    old = read_acting(OLD)
    assert old.action_use is None and "action use" not in dict(acting_rows(old))
    assert unused_sentence(old.action_use, ("gripper",)) is None


@pytest.mark.parametrize(
    "use", [{"all": "much"}, {"all": True}, {"all": -1.0}, {"x": 1e12}, {"x": {}}, [1.0], "x"]
)
def test_what_is_no_ratio_is_damaged(tmp_path, use):
    part = Part(torch.nn.Linear(1, 1), {"schema": {"names": ["x"]}, "action_use": use})
    export(tmp_path / "ac.safetensors", {"ac_predictor": part}, {})
    with pytest.raises(CheckpointError, match=r"action_use is .*expected"):
        read_card(tmp_path / "ac.safetensors")


@pytest.mark.parametrize(
    ("known", "given", "value", "note"),
    [
        (64, None, 64, None),
        (64, 64, 64, None),
        (64, 32, 32, "f: size is 32; the weights were trained for 64"),
        (None, None, 16, "f does not say its size; 16 is taken"),
        (None, 32, 32, None),
    ],
)
def test_a_setting_is_what_is_given_else_what_the_weights_say(known, given, value, note, capsys):
    facts.announce.cache_clear()
    assert chosen("f", "size", known, given, 16) == value
    assert capsys.readouterr().err == (f"note: {note}\n" if note else "")


def test_another_encoder_than_that_of_training_is_refused(written):
    encoder = load_encoder(written)
    check_same_encoder(encoder, weights_digest(encoder), "ac.safetensors")
    check_same_encoder(encoder, None, "an old file")
    with torch.no_grad():
        encoder.embed.weight[0, 0] += 1e-3
    with pytest.raises(
        CheckpointError, match=r"ac\.safetensors was trained on the tokens of another encoder"
    ):
        check_same_encoder(encoder, weights_digest(load_encoder(written)), "ac.safetensors")

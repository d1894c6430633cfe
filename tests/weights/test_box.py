"""The weights in the package: they load strictly, are small, and are those of today's recipes."""

from functools import partial
from pathlib import Path

import pytest
import torch

from scripts.ship_weights import LARGEST, box_parts, recipe_digest
from vjepa.models.ac_predictor import ACPredictor, ACPredictorConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.models.probe import AttentiveProbe, ProbeConfig
from vjepa.planning.load import load_world_model
from vjepa.weights import box, files
from vjepa.weights.card import parameters_by_part, read_card
from vjepa.weights.export import (
    Part,
    ac_predictor_part,
    encoder_part,
    export,
    part_description,
    predictor_part,
    probe_part,
    read_description,
)
from vjepa.weights.facts import ActingFacts
from vjepa.weights.files import CheckpointError, check_exists, weights_digest
from vjepa.weights.load import load_ac_predictor, load_encoder, load_predictor, load_probe

CONF = Path(__file__).parents[2] / "conf"
SMALL = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8)
LOADERS = {
    "ema": load_encoder,
    "student": partial(load_encoder, weights="student"),
    "predictor": load_predictor,
    "ac_predictor": load_ac_predictor,
    "probe": load_probe,
}


def test_the_shipped_networks_load_strictly_and_are_what_their_card_says():
    card = read_card("demo")
    assert set(card.parts) == set(LOADERS)
    for part, load in LOADERS.items():
        state = load("demo").state_dict()
        assert sum(value.numel() for value in state.values()) == card.sizes[part]
        assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())
    assert box.box_path().stat().st_size <= LARGEST
    assert card.clip and card.acting.scales and card.acting.schema["centres"]
    assert card.scores["our encoder"] > card.scores["random encoder"] + 0.05


def test_the_shipped_networks_belong_together():
    digest = weights_digest(load_encoder("demo"))
    assert read_card("demo").acting.encoder_digest == digest
    assert part_description("demo", "probe")["schema"]["encoder_digest"] == digest
    assert load_world_model("demo", "demo").size == read_card("demo").acting.size


def test_the_shipped_weights_are_those_of_todays_recipes():
    made = read_description(box.box_path())["info"]["recipe"]
    assert made == recipe_digest(CONF), (
        "conf/ has changed since the weights in the package were trained: run `make demo ac` in a fresh RUN "
        "and `python -m scripts.ship_weights`, or undo the change"
    )


@pytest.fixture
def run(tmp_path) -> Path:
    """The three stages of a run, untrained."""
    torch.manual_seed(0)
    encoder = Encoder(SMALL)
    predictor = Predictor(PredictorConfig(width=24, depth=1, heads=2, mlp_width=48), SMALL)
    ac = ACPredictor(ACPredictorConfig(width=24, depth=1, heads=2, mlp_width=48), SMALL)
    probe = probe_part(AttentiveProbe(ProbeConfig(1, 2), 24, 3))
    facts = ActingFacts(schema={"names": ["x"]}, size=32, scales=(1, 2), encoder_digest="of float32")
    stages = {
        "cooldown": {
            "ema": encoder_part(encoder),
            "student": encoder_part(Encoder(SMALL)),
            "predictor": predictor_part(predictor, SMALL),
        },
        "ac": {"ac_predictor": ac_predictor_part(ac, SMALL, facts)},
        "probe": {"probe": Part(probe.module, probe.description | {"schema": {"layers": []}})},
    }
    for stage, parts in stages.items():
        export(tmp_path / "run" / stage / "model.safetensors", parts, {"stage": stage})
    return tmp_path / "run"


@pytest.fixture
def packed(run, tmp_path, monkeypatch) -> Path:
    """A box of these stages, in place of the package's."""
    path = tmp_path / "box.safetensors"
    export(path, box_parts(run), {"clip": {"frames": 4, "fps": 8.0, "size": 32}}, dtype="float16")
    for module in (box, files):
        monkeypatch.setattr(module, "box_path", lambda: path)
    return path


def test_half_precision_rounds_and_nothing_else(run, packed):
    for part, load in LOADERS.items():
        stage = {"probe": "probe", "ac_predictor": "ac"}.get(part, "cooldown")
        original = load(run / stage / "model.safetensors").state_dict()
        for key, value in load(packed).state_dict().items():
            assert value.dtype == torch.float32
            assert torch.equal(value, original[key].half().float())
    halves = sum(parameters_by_part(packed).values()) * 2
    assert halves < packed.stat().st_size < halves + 10_000


def test_the_name_demo_stands_for_the_box(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_exists("demo") == packed
    assert read_card("demo").name == box.BOX_NOTE
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/notes.txt").write_text("not weights")
    assert check_exists("demo") == packed
    (tmp_path / "demo/config.json").write_text("{}")
    assert check_exists("demo") == Path("demo")


def test_predictor_and_probe_name_the_rounded_encoder(packed):
    digest = weights_digest(load_encoder("demo"))
    assert read_card("demo").acting.encoder_digest == digest
    schema = part_description("demo", "probe")["schema"]
    assert schema["encoder_digest"] == digest and schema["encoder"] == "demo"


def test_a_package_without_the_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "box_path", lambda: tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="this copy of vjepa holds none; train your own"):
        load_encoder("demo")


def test_a_recipe_digest_changes_with_any_recipe(tmp_path):
    for name in ("pretrain.yaml", "cooldown.yaml", "probe.yaml", "ac.yaml", "encoder/tiny-levels.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    before = recipe_digest(tmp_path)
    (tmp_path / "encoder/tiny-levels.yaml").write_text("width: 65")
    assert recipe_digest(tmp_path) != before


def test_sizes_are_counted_by_part(packed):
    sizes = parameters_by_part(packed)
    assert read_card(packed).sizes == sizes
    assert sizes["ema"] == sum(value.numel() for value in Encoder(SMALL).state_dict().values())

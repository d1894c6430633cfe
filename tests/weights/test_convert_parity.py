"""Directories that we write load in transformers, and give our tokens, predictions, logits and pixels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.weights.test_convert import CLASSES, CLIP, SMALL, written
from vjepa.data.transforms import centre_square, normalise
from vjepa.models.predictor import PredictorConfig
from vjepa.weights.card import read_card
from vjepa.weights.facts import ClipFacts
from vjepa.weights.files import CheckpointError, check_same_encoder
from vjepa.weights.load import load_encoder, load_predictor, load_probe
from vjepa.weights.out.convert import convert
from vjepa.weights.probe_schema import known_schema

transformers = pytest.importorskip("transformers", reason="the parity tests need the hf extra")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
GRID = (2, 4, 4)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    one = PredictorConfig(width=12, depth=2, heads=1, mlp_width=20, mask_tokens=1)
    return written(tmp_path_factory.mktemp("parity") / "own.safetensors", SMALL, one)


@pytest.fixture(scope="module")
def whole(source) -> Path:
    """With the probe."""
    convert(weights=source, to="hf", out=source.parent / "whole")
    return source.parent / "whole"


@pytest.fixture(scope="module")
def plain(source) -> Path:
    """Without it."""
    convert(weights=source, to="hf", out=source.parent / "plain", parts=("ema", "predictor"))
    return source.parent / "plain"


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    return torch.randn(2, 3, CLIP["frames"], 32, 32, generator=torch.Generator().manual_seed(1))


def loaded(kind: type, folder: Path, without: str | None = None) -> torch.nn.Module:
    """A model of transformers, all of whose weights were in the directory, but for one network."""
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert all(without is not None and key.startswith(without) for key in report["missing_keys"])
    return model.eval()


@torch.no_grad()
def test_tokens_and_predictions_are_ours(source, plain, clip):
    model = loaded(transformers.AutoModel, plain)
    assert type(model).__name__ == "VJEPA2Model" and model.dtype == torch.float32
    torch.manual_seed(0)
    order = torch.stack([torch.randperm(32), torch.randperm(32)])
    keep = order[:, :20]
    drop = order[:, 20:]
    output = model(clip.transpose(1, 2), context_mask=[keep], target_mask=[drop])
    tokens = load_encoder(source)(clip)
    torch.testing.assert_close(output.last_hidden_state, tokens, **CLOSE)
    kept = torch.take_along_dim(tokens, keep[..., None], dim=1)
    guess = load_predictor(source)(kept, keep, drop, GRID)
    torch.testing.assert_close(output.predictor_output.last_hidden_state, guess, **CLOSE)


@torch.no_grad()
def test_logits_and_names_are_ours(source, whole, clip):
    model = loaded(transformers.AutoModelForVideoClassification, whole)
    logits = load_probe(source)(load_encoder(source)(clip))
    torch.testing.assert_close(model(clip.transpose(1, 2)).logits, logits, rtol=1e-4, atol=1e-4)
    assert [model.config.id2label[number] for number in range(3)] == CLASSES


@torch.no_grad()
def test_an_encoder_with_one_level_goes_out_with_its_predictor(clip, tmp_path, capsys):
    one = PredictorConfig(width=12, depth=2, heads=1, mlp_width=20, mask_tokens=1)
    level = written(tmp_path / "own.safetensors", replace(SMALL, levels=(SMALL.depth - 1,)), one)
    convert(weights=level, to="hf", out=tmp_path / "hf", parts=("ema", "predictor"))
    assert "left out" not in capsys.readouterr().out
    loaded(transformers.AutoModel, tmp_path / "hf")
    assert torch.equal(load_encoder(tmp_path / "hf")(clip), load_encoder(level)(clip))


@torch.no_grad()
def test_an_encoder_with_levels_goes_out_as_its_last_level(clip, tmp_path, capsys):
    levels = (SMALL.depth - 2, SMALL.depth - 1)
    source = written(tmp_path / "own.safetensors", replace(SMALL, levels=levels))
    convert(weights=source, to="hf", out=tmp_path / "hf")
    said = capsys.readouterr().out
    assert f"levels {levels[0]} (transformers' has the last one" in said and "predictor (" in said
    assert "| levels |" not in (tmp_path / "hf/README.md").read_text()

    tokens = load_encoder(source)(clip)
    read_back = load_encoder(tmp_path / "hf")
    assert torch.equal(read_back(clip), tokens) and read_back.config.levels == ()
    with pytest.raises(
        CheckpointError, match="holds no predictor; give the weights that it was written from"
    ):
        load_predictor(tmp_path / "hf")
    model = transformers.AutoModelForVideoClassification.from_pretrained(tmp_path / "hf").eval()
    logits = load_probe(source)(tokens)
    torch.testing.assert_close(model(clip.transpose(1, 2)).logits, logits, rtol=1e-4, atol=1e-4)
    # The probe's schema names the encoder that it stands beside now.
    check_same_encoder(read_back, known_schema(tmp_path / "hf")["encoder_digest"], "the probe")


@torch.no_grad()
def test_the_demo_computes_in_single_precision_as_ours_does(tmp_path):
    convert(weights=Path("demo"), to="hf", out=tmp_path / "demo")
    model = loaded(transformers.VJEPA2ForVideoClassification, tmp_path / "demo", without="vjepa2.predictor.")
    clip = torch.randn(1, 3, 10, 64, 64, generator=torch.Generator().manual_seed(1))
    logits = load_probe("demo")(load_encoder("demo")(clip))
    torch.testing.assert_close(model(clip.transpose(1, 2)).logits, logits, rtol=1e-4, atol=1e-4)
    # The probe reads smaller pictures than the encoder was trained on, at the same rate.
    assert read_card("demo").clip == ClipFacts(10, 5.0, 72)
    assert read_card(tmp_path / "demo").clip == ClipFacts(10, 5.0, 64)


@torch.no_grad()
def test_the_files_of_a_large_model_are_read_together(source, clip, monkeypatch):
    monkeypatch.setattr("vjepa.weights.out.hf_folder.LARGEST_FILE", 20_000)
    convert(weights=source, to="hf", out=source.parent / "pieces", parts=("ema", "predictor"))
    model = loaded(transformers.AutoModel, source.parent / "pieces")
    tokens = model(clip.transpose(1, 2), skip_predictor=True).last_hidden_state
    torch.testing.assert_close(tokens, load_encoder(source)(clip), **CLOSE)


def test_what_transformers_saves_again_is_read(source, whole, tmp_path):
    loaded(transformers.VJEPA2ForVideoClassification, whole).save_pretrained(tmp_path / "again")
    convert(weights=tmp_path / "again", to="vjepa", out=tmp_path / "back.safetensors")
    for load in (load_encoder, load_predictor, load_probe):
        ours = load(source).state_dict()
        assert all(
            torch.equal(value, ours[key])
            for key, value in load(tmp_path / "back.safetensors").state_dict().items()
        )


@pytest.mark.parametrize(
    ("height", "width", "most"), [(40, 40, 0.0), (64, 64, 0.0), (48, 64, 0.1), (64, 36, 0.1)]
)
def test_pixels_are_those_of_our_evaluation(whole, height, width, most):
    """Equal for squares; else the whole frame is scaled before its middle is taken, and shifts a little."""
    processor = transformers.AutoVideoProcessor.from_pretrained(whole)
    row = torch.linspace(0, 3, width).sin()
    column = torch.linspace(0, 4, height).cos()
    frame = ((row[None] * column[:, None] + 1) * 127).byte()
    frames = frame[None, ..., None].expand(4, -1, -1, 3).numpy()
    ours = normalise(torch.from_numpy(centre_square(frames, 32)).movedim(-1, 1)[None])
    theirs = processor(list(frames), return_tensors="pt")["pixel_values_videos"].transpose(1, 2)
    assert theirs.shape == (1, 3, 4, 32, 32)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=most + 1e-6)

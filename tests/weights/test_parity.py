"""Our networks are V-JEPA 2: with the weights of a random network of transformers, they give equal tokens.

Transformers' code is an independent rewrite that was checked against Meta's released weights.
"""

import pytest
import torch

from vjepa.models.grid import take
from vjepa.models.probe_grid import ProbeGrid
from vjepa.objectives.masks import BlockConfig, MaskConfig, sample_masks
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_encoder, load_predictor, load_probe

transformers = pytest.importorskip("transformers", reason="the parity tests need the hf extra")
GRID = (4, 4, 4)
SMALL = {
    "patch_size": 8,
    "crop_size": 32,  # transformers takes the grid from its config, and it is square
    "frames_per_clip": 8,
    "tubelet_size": 2,
    "hidden_size": 96,
    "num_attention_heads": 3,
    "pred_hidden_size": 48,
    "pred_num_attention_heads": 2,
}


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        **SMALL,
        num_hidden_layers=3,
        mlp_ratio=2.5,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=3,
        pred_mlp_ratio=4.0,
    )
    model = transformers.VJEPA2Model(config).eval()
    with torch.no_grad():
        # Biases, norms and mask tokens too: a zero would hide what is wrong.
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return model


@pytest.fixture(scope="module")
def folder(reference, tmp_path_factory):
    path = tmp_path_factory.mktemp("hf")
    reference.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def clip():
    return torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def views():
    config = MaskConfig(kinds=(BlockConfig(3, 0.15), BlockConfig(1, 0.5)), group=2)
    return sample_masks(config, GRID, 2, seed=0, step=0, rank=0)


@pytest.fixture(scope="module")
def output(reference, clip, views):
    frames_first = clip.transpose(1, 2)
    with torch.no_grad():
        return [reference(frames_first, context_mask=[view.keep], target_mask=[view.drop]) for view in views]


def test_encoder_tokens_equal(folder, clip, output):
    with torch.no_grad():
        tokens = load_encoder(folder)(clip)
    torch.testing.assert_close(tokens, output[0].last_hidden_state, atol=1e-5, rtol=1e-5)


def test_masked_encoder_tokens_equal(reference, folder, clip, views):
    encoder = reference.encoder
    ours = load_encoder(folder)
    for view in views:
        with torch.no_grad():
            x = take(encoder.embeddings(clip.transpose(1, 2)), view.keep)
            for layer in encoder.layer:
                x = layer(x, position_mask=view.keep)
                x = x[0] if isinstance(x, tuple) else x  # versions of transformers differ
            tokens = ours(clip, view.keep)
            torch.testing.assert_close(tokens, encoder.layernorm(x), atol=1e-5, rtol=1e-5)


def test_predictor_tokens_equal(folder, output, views):
    predictor = load_predictor(folder)
    for view, out in zip(views, output, strict=True):
        context = take(out.last_hidden_state, view.keep)
        with torch.no_grad():
            # Transformers always uses mask token number 1.
            predicted = predictor(context, view.keep, view.drop, GRID, mask_token=1)
        torch.testing.assert_close(predicted, out.predictor_output.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_a_missing_tensor_is_named(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.2.mlp.fc1.bias"]
    state["encoder.layer.1.norm1.weight"] = torch.ones(5)
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(
        CheckpointError, match=r"missing blocks\.2\.mlp\.0\.bias; blocks\.1\.norm1\.weight is \(5,\)"
    ):
        load_encoder(tmp_path)


def test_classifiers_equal_alone_and_in_a_grid(tmp_path, clip):
    """All of VJEPA2ForVideoClassification: encoder, self-attention blocks, pooler and classifier."""
    torch.manual_seed(0)
    config = transformers.VJEPA2Config(
        **SMALL, num_hidden_layers=2, mlp_ratio=4.0, pred_num_hidden_layers=1, num_labels=11
    )
    model = transformers.VJEPA2ForVideoClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
        expected = model(clip.transpose(1, 2)).logits
    model.save_pretrained(tmp_path)

    probe = load_probe(tmp_path)
    tokens = load_encoder(tmp_path)(clip)
    torch.testing.assert_close(probe(tokens), expected, atol=1e-4, rtol=1e-4)
    for logits in ProbeGrid(probe, 3)(tokens):
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_directory_without_a_classifier_is_refused(folder):
    with pytest.raises(CheckpointError, match="holds no probe; give the weights that it was written from"):
        load_probe(folder)

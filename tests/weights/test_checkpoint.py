"""Loading is strict and says what is wrong. Meta's files are read as the public trainer writes them."""

import pytest
import torch

from tests.stage_runs import RESUMABLE
from tests.weights.meta_files import meta_encoder, meta_predictor
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.models.predictor import Predictor, PredictorConfig
from vjepa.weights.checkpoints import checkpoint_in, newest_checkpoint
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError
from vjepa.weights.load import load_encoder, load_predictor, load_probe

SMALL = EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)


@pytest.fixture
def meta_file(tmp_path):
    torch.manual_seed(0)
    student = Encoder(SMALL)
    target = Encoder(SMALL)
    predictor = Predictor(PredictorConfig(width=24, depth=1, heads=2, mlp_width=48, mask_tokens=2), SMALL)
    networks = {"encoder": meta_encoder(student), "target_encoder": meta_encoder(target)}
    torch.save(networks | {"predictor": meta_predictor(predictor), "epoch": 3}, tmp_path / "meta.pt")
    return tmp_path / "meta.pt", student, target, predictor


def have_same_weights(network, loaded) -> bool:
    weights = loaded.state_dict()
    return all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


def test_a_file_of_metas_is_read_whole(meta_file):
    path, student, target, predictor = meta_file
    assert have_same_weights(target, load_encoder(path, heads=4))
    assert have_same_weights(student, load_encoder(path, "student", heads=4))
    assert have_same_weights(predictor, load_predictor(path, heads=2))


def test_unknown_heads_must_be_given(meta_file):
    with pytest.raises(CheckpointError, match="width 48 is not a published encoder's"):
        load_encoder(meta_file[0])


def test_tensors_of_another_version_are_named(meta_file):
    path = meta_file[0]
    checkpoint = torch.load(path, weights_only=True)
    for number in range(2):
        checkpoint["target_encoder"][f"module.backbone.norms_block.{number}.weight"] = torch.ones(48)
    torch.save(checkpoint, path)
    with pytest.raises(CheckpointError, match=r"missing norms\.0\.bias; .*surplus norm\.weight"):
        load_encoder(path, heads=4)


def test_the_error_of_every_wrong_source_is_one_sentence(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "text.pt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weights": {}}, tmp_path / "other.pt")
    (tmp_path / "empty").mkdir()
    export(tmp_path / "model.safetensors", {"ema": encoder_part(Encoder(SMALL))}, {})
    errors = {
        "missing.pt": "does not exist",
        "text.safetensors": r"is a text and no weights",
        "text.pt": r"is a text and no weights",
        "list.pt": "holds a list",
        "other.pt": "holds no network that is known here but weights",
        "empty": "no config.json",
    }
    for name, error in errors.items():
        with pytest.raises(CheckpointError, match=error) as caught:
            load_encoder(tmp_path / name)
        assert "\n" not in str(caught.value) and name in str(caught.value)
    with pytest.raises(CheckpointError, match="holds ema but no part named student"):
        load_encoder(tmp_path / "model.safetensors", "student")
    with pytest.raises(CheckpointError, match="no part named probe"):
        load_probe(tmp_path / "model.safetensors")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return print, ("harm",)

    torch.save({"target_encoder": Harm()}, tmp_path / "harm.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_encoder(tmp_path / "harm.pt")


def test_an_export_is_complete_or_absent(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("vjepa.weights.export.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export(tmp_path / "model.safetensors", {"ema": encoder_part(Encoder(SMALL))}, {})
    assert not (tmp_path / "model.safetensors").exists()


def test_a_checkpoint_cut_off_by_a_kill_is_passed_over(tmp_path):
    torch.save({"global_step": 9} | RESUMABLE, tmp_path / "step=9.ckpt")
    (tmp_path / "step=20.ckpt").write_bytes((tmp_path / "step=9.ckpt").read_bytes()[:40])
    assert newest_checkpoint(tmp_path) == tmp_path / "step=9.ckpt"
    (tmp_path / "step=7-v1.ckpt").write_bytes(b"somebody's copy")
    damaged = bytearray((tmp_path / "step=9.ckpt").read_bytes())
    damaged[damaged.index(b"global_step")] ^= 0xFF
    (tmp_path / "step=9.ckpt").write_bytes(damaged)  # the archive's directory is whole, its content is not
    with pytest.raises(CheckpointError, match=r"none of the checkpoints in .* since they cannot be read"):
        checkpoint_in(tmp_path)

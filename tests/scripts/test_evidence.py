"""The evidence from end to end, on networks that know nothing."""

import json

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from scripts.evidence import READ_OUTS, main
from vjepa.data.clips import ClipConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError

SMALL = {"clip": ClipConfig(frames=2, fps=5.0, size=32), "limit": 8, "attentive_steps": 2}


@pytest.fixture
def runs(tmp_path):
    """Two runs whose three stages left the same encoder each, and curves of their read-outs."""
    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        encoder = Encoder(EncoderConfig(width=16, depth=1, heads=4, mlp_width=16, patch=32))
        folder = tmp_path / f"run{seed}"
        for stage in ("pretrain", "cooldown", "constant"):
            (folder / stage).mkdir(parents=True)
            export(folder / stage / "model.safetensors", {"ema": encoder_part(encoder)}, {})
        with SummaryWriter(str(folder / "pretrain")) as writer:
            for name in READ_OUTS:
                writer.add_scalar(f"readout/{name}", 0.5, 0)
        folders.append(folder)
    return folders


def run_evidence(runs, manifest, out) -> None:
    main(runs, score=str(manifest), fit=str(manifest), choose=str(manifest), out=out, **SMALL)


def test_table_figure_and_numbers(runs, clips_manifest, tmp_path, capsys):
    """Every number is there, and equal encoders have equal scores."""
    run_evidence(runs, clips_manifest, tmp_path / "out")
    encoders = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert set(encoders) == {"random", "pretrain", "cooldown", "constant"}
    for scores in encoders.values():
        assert set(READ_OUTS) <= set(scores)
        assert all(len(values) == 2 for values in scores.values())
    # The place of a run in the list is the seed of its random encoder, and here of the others too.
    assert encoders["pretrain"] == encoders["cooldown"] == encoders["constant"] == encoders["random"]
    assert "2 seeds" in capsys.readouterr().out
    for name in ("evidence.png", "evidence_curves.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


def test_an_unfinished_run_is_named(runs, clips_manifest, tmp_path):
    (runs[1] / "constant" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="constant"):
        run_evidence(runs, clips_manifest, tmp_path / "out")

"""The evidence from end to end on networks that know nothing: every number is there, and equal encoders score equally."""

import json

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from scripts.evidence import READ_OUTS, main
from vjepa.data.clips import ClipConfig
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.weights.export import encoder_part, export
from vjepa.weights.files import CheckpointError

CLIP = ClipConfig(frames=2, fps=5.0, size=32)


@pytest.fixture
def runs(tmp_path):
    """Two runs whose three stages left the same encoder each, and curves of their read-outs."""
    found = []
    for seed in range(2):
        torch.manual_seed(seed)
        part = {
            "ema": encoder_part(Encoder(EncoderConfig(width=16, depth=1, heads=4, mlp_width=16, patch=32)))
        }
        for stage in ("pretrain", "cooldown", "constant"):
            (tmp_path / f"run{seed}" / stage).mkdir(parents=True)
            export(tmp_path / f"run{seed}" / stage / "model.safetensors", part, {})
        with SummaryWriter(str(tmp_path / f"run{seed}" / "pretrain")) as writer:
            for name in READ_OUTS:
                writer.add_scalar(f"readout/{name}", 0.5, 0)
        found.append(tmp_path / f"run{seed}")
    return found


def test_table_figure_and_numbers(runs, clips_manifest, tmp_path, capsys):
    clips = str(clips_manifest)
    main(
        runs,
        score=clips,
        fit=clips,
        choose=clips,
        out=tmp_path / "out",
        clip=CLIP,
        limit=8,
        attentive_steps=2,
    )
    found = json.loads((tmp_path / "out" / "evidence.json").read_text())
    assert set(found) == {"random", "pretrain", "cooldown", "constant"}
    assert all(
        set(READ_OUTS) <= set(scores) and all(len(v) == 2 for v in scores.values())
        for scores in found.values()
    )
    assert (
        found["pretrain"] == found["cooldown"] == found["constant"] == found["random"]
    )  # the seed of a run is its place
    assert "2 seeds" in capsys.readouterr().out and (tmp_path / "out" / "evidence.png").stat().st_size > 5000


def test_an_unfinished_run_is_named(runs, clips_manifest, tmp_path):
    (runs[1] / "constant" / "model.safetensors").unlink()
    clips = str(clips_manifest)
    with pytest.raises(CheckpointError, match="constant"):
        main(
            runs,
            score=clips,
            fit=clips,
            choose=clips,
            out=tmp_path / "out",
            clip=CLIP,
            limit=8,
            attentive_steps=2,
        )

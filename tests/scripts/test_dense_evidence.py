"""The sweep of V-JEPA 2.1 gives all its recipes the same compute, and the script reads their encoders."""

from pathlib import Path
from statistics import mean

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.dense_evidence import OF_CLIPS, OF_TOKENS, RANDOM, encoders, tables_of
from stages.pretrain import Pretrain
from tests.test_conf import STAGES, settings
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, EncoderConfig
from vjepa.training.mask_groups import predict_groups, sample_groups
from vjepa.training.pretraining_outputs import outputs_of
from vjepa.training.sweep import command, read_sweep
from vjepa.weights.export import encoder_part, export

ROOT = Path(__file__).parents[2]
SWEEP = read_sweep(ROOT / "conf/sweeps/dense.yaml")


def stage_of(changes: dict) -> Pretrain:
    words = command(SWEEP, changes, 0, Path("out"))
    config, cli = settings(ROOT / SWEEP.configs[0], *words[words.index("--seed_everything") + 2 :])
    assert STAGES["pretrain"][0] == "Pretrain" and config is not None
    return cli.parser.instantiate_classes(cli.config).fit.model


def operations(stage: Pretrain, seed: int) -> int:
    """Those of matrix products in one step of eight clips, forward and backward, with the masks of a seed."""
    clip = torch.randn(8, 3, 8, 64, 64)
    groups = sample_groups(stage.masks, stage.encoder.grid(clip), 8, seed=seed, step=0, batch=0)
    with FlopCounterMode(display=False) as counter:
        targets = stage.target_tokens(clip)
        predictions = predict_groups(stage.encoder, stage.predictor, clip, targets, groups)
        outputs_of(predictions, targets, stage.encoder.grid(clip), stage.context, 1.0)["loss"].backward()
    return counter.get_total_flops()


def test_all_recipes_of_the_sweep_have_the_same_compute():
    whole = {}
    for name, changes in SWEEP.runs.items():
        stage = stage_of(changes)
        # Blocks that overlap drop another number of tokens in each draw.
        draws = 8 if "limited" in name else 1
        each = mean(operations(stage, seed) for seed in range(draws))
        whole[name] = each * changes["trainer.max_steps"]
    assert all(total == pytest.approx(whole["one level"], rel=0.02) for total in whole.values()), whole


def test_runs_are_read_by_recipe_beside_random_encoders(tmp_path):
    config = EncoderConfig(width=24, depth=1, heads=2, mlp_width=48, patch=8)
    for name in ("dense and levels-seed0", "one level-seed0", "one level-seed1"):
        export(tmp_path / name / "model.safetensors", {"ema": encoder_part(Encoder(config))}, {})
    (tmp_path / "notes").mkdir()
    found = [name for name, _ in encoders([tmp_path])]
    assert found == [RANDOM, RANDOM, "dense and levels", "one level", "one level"]
    with pytest.raises(UserError, match="holds no folder <recipe>-seed<number>"):
        encoders([tmp_path, tmp_path / "notes"])
    with pytest.raises(UserError, match="--runs is empty; name the folders of sweeps"):
        encoders([])

    scores = {"one level": {key: [0.25, 0.75] for key in (*OF_CLIPS, *OF_TOKENS)}}
    tables = tables_of(scores, {"pixels_hand_r2": 0.01}, 7)
    assert "| one level | 0.500 ± " in tables and tables.endswith("7 clips; seeds: one level 2")
    assert "| pixels of the token |  |  | 0.010 |  |" in tables

"""The measure of `scripts/torture.py`: every weight counts, but for biases that change nothing."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from scripts.small_runs import Runs


@pytest.mark.parametrize(
    ("place", "of_all", "found"), [(4, True, 0.5), (4, False, 0.0), (1, False, 0.5), (8, False, 0.5)]
)
def test_only_biases_of_keys_are_left_out_and_only_if_asked(place, of_all, found, tmp_path):
    runs = Runs(tmp_path, seed=0)
    for run in ("demo", "other"):
        weights = {"a.qkv.bias": np.zeros(9, np.float32), "a.weight": np.ones((2, 3), np.float32)}
        weights["a.qkv.bias"][place] = 0.5 * (run == "other")
        runs.out("pretrain", run).mkdir(parents=True)
        save_file(weights, runs.out("pretrain", run) / "model.safetensors")
    assert runs.difference("pretrain", "other", of_all=of_all) == found

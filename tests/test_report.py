"""Intervals against Wilson's known values, spread over seeds."""

import json

import pytest

from vjepa.errors import UserError
from vjepa.evaluation.report import Score, over_seeds, read_scores, table


def test_wilson_interval_of_textbook_cases():
    assert Score("x", 0.5, 10).interval == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert Score("x", 1.0, 20).interval == pytest.approx((0.8389, 1.0), abs=1e-4)


def test_mean_and_spread_over_seeds(tmp_path):
    for seed, value in enumerate((0.4, 0.6)):
        rows = [{"name": "ours", "value": value, "clips": 100}]
        (tmp_path / f"{seed}.json").write_text(json.dumps(rows))
    runs = [read_scores(tmp_path / f"{seed}.json") for seed in (0, 1)]
    assert "0.500 ± 0.141   (0.400 0.600)" in over_seeds(runs)
    with pytest.raises(UserError, match="not of the same rows"):
        over_seeds([runs[0], runs[1] * 2])
    assert "0.400   [0.309, 0.498]" in table(runs[0], "accuracy")


@pytest.mark.parametrize("text", ["[]", "{", '[{"name": "ours"}]'])
def test_other_files_are_no_scores(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(UserError, match=r"other\.json holds no scores"):
        read_scores(tmp_path / "other.json")

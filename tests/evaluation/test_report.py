"""Tables: intervals against Wilson's known values, spread over seeds, and the layout of text and Markdown."""

import json

import pytest

from vjepa.errors import UserError
from vjepa.evaluation.report import Score, read_scores, report, score_table, seeds_table
from vjepa.evaluation.rollout_error import error_table
from vjepa.evaluation.tables import markdown_table, mean_and_spread, text_table


def test_wilson_interval_of_textbook_cases():
    assert Score("x", 0.5, 10).interval == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert Score("x", 1.0, 20).interval == pytest.approx((0.8389, 1.0), abs=1e-4)


def test_mean_and_spread_over_seeds(tmp_path):
    for seed, value in enumerate((0.4, 0.6)):
        rows = [{"name": "ours", "value": value, "clips": 100}]
        (tmp_path / f"{seed}.json").write_text(json.dumps(rows))
    runs = [read_scores(tmp_path / f"{seed}.json") for seed in (0, 1)]
    assert "0.500 ± 0.141   (0.400 0.600)" in seeds_table(runs)
    with pytest.raises(UserError, match="not of the same rows"):
        seeds_table([runs[0], runs[1] * 2])


def test_a_table_of_scores_to_the_character():
    scores = [Score("our encoder", 0.4, 100), Score("chance", 0.125, 100)]
    assert score_table(scores, "accuracy on 100 test clips").splitlines() == [
        "accuracy on 100 test clips, 95 % interval",
        "  our encoder                0.400   [0.309, 0.498]",
        "  chance                     0.125",
    ]


def test_a_table_of_rollout_errors_to_the_character():
    assert error_table({"model": [0.1, 0.25], "zero": [0.2, 12.5]}, windows=7).splitlines() == [
        "error at each horizon, mean |difference| of tokens over 7 held-out windows",
        "  actions ahead        1       2",
        "  model           0.1000  0.2500",
        "  zero            0.2000 12.5000",
    ]


def test_text_and_markdown():
    rows = [("a", "1"), ("bcd", "20")]
    assert text_table("caption", rows, ("<5", ">4")) == "caption\n  a       1\n  bcd    20"
    markdown = markdown_table(("run", "score"), rows)
    assert markdown == "| run | score |\n|---|---|\n| a | 1 |\n| bcd | 20 |"
    with pytest.raises(ValueError, match="longer"):
        text_table("caption", [("a",)], ("<5", ">4"))
    assert mean_and_spread([0.3]) == (0.3, 0.0)


@pytest.mark.parametrize("text", ["[]", "{", '[{"name": "ours"}]'])
def test_other_files_are_no_scores(tmp_path, text):
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(UserError, match=r"other\.json holds no scores"):
        read_scores(tmp_path / "other.json")


def write_row(folder, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps([{"name": name, "value": 0.5, "clips": 10}]))


def test_a_folder_stands_for_the_scores_in_it(tmp_path, capsys):
    write_row(tmp_path / "a/probe", "ours")
    report([tmp_path / "a/probe/scores.json"])
    table = capsys.readouterr().out
    for folder in ("a", "a/probe"):
        report([tmp_path / folder])
        assert capsys.readouterr().out == table

    write_row(tmp_path / "b/probe", "ours")
    report([tmp_path / "a", tmp_path / "b"])
    assert "over 2 seeds" in capsys.readouterr().out


def test_every_stage_of_a_run_is_reported(tmp_path, capsys):
    write_row(tmp_path / "run/probe", "ours")
    write_row(tmp_path / "run/probe-other", "theirs")
    (tmp_path / "run/vlm").mkdir()
    (tmp_path / "run/vlm/scores.json").write_text('[{"by": "likelihood"}]')
    report([tmp_path / "run"])
    told = capsys.readouterr().out
    assert "probe: accuracy on 10" in told and "probe-other: accuracy on 10" in told
    with pytest.raises(UserError, match="run holds the scores of several stages; give one of"):
        report([tmp_path / "run", tmp_path / "run"])


def test_a_folder_without_scores_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"holds no scores\.json, nor does a folder in it"):
        report([tmp_path])


@pytest.mark.parametrize(
    "row",
    [
        {"name": "a", "value": None, "clips": 3},
        {"name": "a", "value": 1.5, "clips": 3},
        {"name": "a", "value": 0.5, "clips": 0},
        {"name": "a", "value": "0.5", "clips": 3},
        {"name": "a", "value": 0.5},
        [1],
        "a",
    ],
)
def test_what_is_no_score_is_one_sentence(tmp_path, row):
    (tmp_path / "scores.json").write_text(json.dumps([row]))
    with pytest.raises(UserError, match=r"scores\.json(, score 1: | holds no scores)"):
        read_scores(tmp_path / "scores.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_scores_are_read_in_any_encoding(tmp_path, encoding):
    rows = json.dumps([{"name": "caf\u00e9", "value": 0.5, "clips": 3}], ensure_ascii=False)
    (tmp_path / "scores.json").write_text(rows, encoding=encoding)
    assert read_scores(tmp_path / "scores.json")[0].name == "caf\u00e9"

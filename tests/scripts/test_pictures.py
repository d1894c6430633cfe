"""The pictures of the docs come from what a run left, and from nothing else."""

import json
from pathlib import Path

import pytest

from scripts.evidence import ENCODERS, READ_OUTS
from scripts.pictures import main, table_of_the_docs
from vjepa.errors import UserError

pytest.importorskip("matplotlib")
FROM_RUNS = ("neighbours", "confusion", "horizons", "landscape", "decoding")


def test_a_picture_without_its_source_is_left_as_it_is(tmp_path, capsys):
    main(run=tmp_path / "runs/demo", data=tmp_path, out=tmp_path / "pictures", only=FROM_RUNS)
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(FROM_RUNS) and all("left as it is, because" in line for line in told)
    assert list((tmp_path / "pictures").iterdir()) == []
    with pytest.raises(UserError, match="--only films: expected demo_world, neighbours"):
        main(run=tmp_path, out=tmp_path, only=("films",))


def test_a_picture_is_drawn_from_what_the_run_left(tmp_path):
    (tmp_path / "ac").mkdir()
    errors = {row: [0.1, 0.2] for row in ("model", "shuffled", "zero", "persistence")}
    (tmp_path / "ac/horizons.json").write_text(json.dumps({"windows": 3, "errors": errors}))
    main(run=tmp_path, out=tmp_path / "pictures", only=("horizons",))
    assert (tmp_path / "pictures/horizons.png").stat().st_size > 5000


def test_the_table_of_the_docs_is_what_the_figure_shows():
    summaries = table_of_the_docs(Path("docs/pretraining.md").read_text())
    assert list(summaries) == list(ENCODERS)
    for row in summaries.values():
        assert list(row) == list(READ_OUTS)
        assert all(0 < mean < 1 and 0 < spread < 0.1 for mean, spread in row.values())
    assert summaries["random"]["label_linear"] < summaries["pretrain"]["label_linear"]
    with pytest.raises(UserError, match=r"docs/pretraining\.md has 1 scores"):
        table_of_the_docs("| linear | 0.5 ± 0.1 |")

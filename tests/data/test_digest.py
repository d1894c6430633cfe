"""A digest of training data depends on its rows, and on nothing else."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vjepa.data.clip_data import ClipData, Source
from vjepa.data.clips import ClipConfig
from vjepa.data.digest import array_digest, joint_digest, table_digest
from vjepa.data.manifest import read_manifest

ROWS = "path,label,start,end\na.mp4,0,,\nb.mp4,1,0.5,2.0\nc.mp4,,,\n"


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "clips.csv").write_text(ROWS)
    return tmp_path / "clips.csv"


def digest(path) -> str:
    return table_digest(read_manifest(path).table)


def test_the_same_rows_have_the_same_digest_in_any_place_and_format(manifest, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere/other.csv"
    moved.write_text("colour,path,label,start,end\n" + "".join(f"red,{row}\n" for row in ROWS.split()[1:]))
    columns = {"path": ["a.mp4", "b.mp4", "c.mp4"], "label": [0, 1, None], "start": [None, 0.5, None]}
    pa.parquet.write_table(pa.table(columns | {"end": [None, 2.0, None]}), tmp_path / "clips.parquet")
    assert digest(manifest) == digest(moved) == digest(tmp_path / "clips.parquet")
    assert len(digest(manifest)) == 12


@pytest.mark.parametrize(("old", "new"), [("b.mp4", "d.mp4"), (",1,", ",2,"), ("0.5", "0.6"), ("2.0", "")])
def test_another_row_is_another_digest(manifest, old, new):
    before = digest(manifest)
    manifest.write_text(ROWS.replace(old, new))
    assert digest(manifest) != before


def test_one_source_has_its_own_digest_and_several_have_one_together(manifest, tmp_path):
    (tmp_path / "more.csv").write_text("path\nz.mp4\n")
    data = ClipData([Source(str(manifest))], clip=ClipConfig(4, 8.0, 32))
    assert data.trained_on() == {"clip": {"frames": 4, "fps": 8.0, "size": 32}, "data": digest(manifest)}
    both = ClipData([Source(str(manifest)), Source(str(tmp_path / "more.csv"))]).trained_on()["data"]
    assert both == joint_digest([digest(manifest), digest(tmp_path / "more.csv")]) != digest(manifest)


def test_arrays_are_known_by_their_numbers():
    numbers = np.arange(12.0).reshape(3, 4)
    assert array_digest(numbers) == array_digest(np.asfortranarray(numbers)) != array_digest(numbers + 1)

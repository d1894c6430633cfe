"""Names of classes get the same numbers wherever they stand: in every list of a run, and on another day."""

import re
from pathlib import Path

import pytest

from vjepa.data.class_map import read_class_map
from vjepa.data.clip_data import Source
from vjepa.data.labelled_clip_data import LabelledClipData
from vjepa.data.manifest import read_manifest
from vjepa.data.manifest_error import ManifestError
from vjepa.evaluation.confusion import class_names


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def labels(path: Path) -> list[int]:
    return read_manifest(path).labels.tolist()


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv", "a.mp4 lecture\nb.mp4 brush hair\nc.mp4 lecture\n"),
        ("a.txt", "a.mp4,lecture\nb.mp4,brush hair\nc.mp4,lecture\n"),
        ("b.csv", "path;label\na.mp4;lecture\nb.mp4;brush hair\nc.mp4; lecture \n"),
        ("a.tsv", 'label\tpath\nlecture\ta.mp4\n"brush hair"\tb.mp4\nlecture\tc.mp4\n'),
    ],
)
def test_names_are_numbered_in_their_order(tmp_path, name, text, capsys):
    manifest = read_manifest(write(tmp_path / name, text))
    assert manifest.labels.tolist() == [1, 0, 1] and manifest.classes == {"brush hair": 0, "lecture": 1}
    assert manifest.table["label_name"].to_pylist() == ["lecture", "brush hair", "lecture"]
    assert class_names(manifest, 2) == ["brush hair", "lecture"]
    assert "2 classes are numbered in the order of their names, from 'brush hair'" in capsys.readouterr().err


def test_a_row_may_have_no_name(tmp_path):
    assert labels(write(tmp_path / "a.csv", "path,label\na.mp4,dog\nb.mp4,\n")) == [0, -1]


@pytest.mark.parametrize(
    "name, text",
    [
        ("a.csv.labels.txt", "lecture\ndrinking\ncooking\n"),
        ("labels.txt", "lecture\r\ndrinking\r\ncooking\r\n"),
        ("labels.json", '{"lecture": "0", "drinking": "1", "cooking": "2"}'),
        ("labels.json", '{"0": "lecture", "1": "drinking", "2": "cooking"}'),
        ("labels.json", '["lecture", "drinking", "cooking"]'),
        ("a.csv.labels.csv", "id,name\n0,lecture\n1,drinking\n2,cooking\n"),
        ("a.csv.labels.txt", "2 cooking\n0 lecture\n1 drinking\n"),
        ("a.csv.labels.txt", "lecture 0\ndrinking 1\ncooking 2\n"),
    ],
)
def test_a_map_beside_the_list_decides(tmp_path, name, text):
    write(tmp_path / name, text)
    assert labels(write(tmp_path / "a.csv", "a.mp4 drinking\nb.mp4 lecture\n")) == [1, 0]
    write(tmp_path / "a.csv", "a.mp4 drinking\n\nb.mp4 dancing\n")
    with pytest.raises(ManifestError, match=r"a\.csv, line 3: class 'dancing' is none of the 3 of "):
        read_manifest(tmp_path / "a.csv")


@pytest.mark.parametrize("text", ["", "a\nb\na\n"])
def test_a_map_without_a_number_of_its_own_for_each_class_is_refused(tmp_path, text):
    with pytest.raises(ManifestError, match="expected one name on each line"):
        read_class_map(write(tmp_path / "labels.txt", text))


def test_names_may_begin_with_a_number(tmp_path):
    names = ["2 hands", "2 feet", "3 balls"]
    assert list(read_class_map(write(tmp_path / "labels.txt", "\n".join(names)))) == names


def test_a_map_that_is_no_json(tmp_path):
    for text in ("{", '{"a": "b"}', "3"):
        with pytest.raises(
            ManifestError, match=re.escape('labels.json: expected JSON such as {"name of a class": 0}')
        ):
            read_class_map(write(tmp_path / "labels.json", text))


def data(folder: Path, train: list[str], val: str, test: str) -> LabelledClipData:
    files = [write(folder / f"train{i}.csv", text) for i, text in enumerate(train)]
    sources = [Source(str(file)) for file in files]
    return LabelledClipData(
        sources, str(write(folder / "val.csv", val)), str(write(folder / "test.txt", test)), workers=0
    )


def test_every_list_of_a_run_has_the_numbers_of_training(tmp_path):
    """Validation lacks the first class, and each training list another one."""
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n", "c.mp4,a\nd.mp4,c\n"], "e.mp4 c\n", "path;label\nf.mp4;b\n")
    clips.setup("fit")
    assert [manifest.labels.tolist() for manifest in clips.manifests] == [[1, 2], [0, 2], [2], [1]]
    clips.check_labels(3)
    # From now on each of them has these numbers when it is read alone, and on another day.
    assert (tmp_path / "val.csv.labels.txt").read_text() == "a\nb\nc\n"
    assert [labels(tmp_path / name) for name in ("train1.csv", "val.csv", "test.txt")] == [[0, 2], [2], [1]]


def test_a_class_that_training_lacks_is_refused(tmp_path):
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n"], "e.mp4 c\ng.mp4 a\n", "f.mp4 b\n")
    with pytest.raises(ManifestError, match=r"val\.csv, line 2: class 'a' is none of the 2 of data\.train"):
        clips.setup("fit")


@pytest.mark.parametrize(
    "train, val", [("a.mp4 b\nb.mp4 c\n", "e.mp4 1\n"), ("a.mp4 0\nb.mp4 1\n", "e.mp4 b\n")]
)
def test_names_and_numbers_side_by_side_are_refused(tmp_path, train, val):
    clips = data(tmp_path, [train], val, train)
    clips.setup("fit")
    with pytest.raises(ManifestError, match=r"names its classes and .* numbers them"):
        clips.check_labels(2)


def test_labels_that_begin_at_one_are_told_so(tmp_path):
    clips = data(tmp_path, ["a.mp4 1\nb.mp4 2\n"], "c.mp4 2\n", "d.mp4 1\n")
    with pytest.raises(ManifestError, match=r"outside 0\.\.1 .*the labels begin at 1, so subtract 1"):
        clips.check_labels(2)


def test_a_map_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n"], "e.mp4 c\n", "f.mp4 b\n")
    (tmp_path / "train0.csv.labels.txt").mkdir()
    clips.setup("fit")
    assert "train0.csv.labels.txt cannot be written" in capsys.readouterr().err


def test_a_map_beside_validation_does_not_shift_its_numbers(tmp_path, capsys):
    write(tmp_path / "val.csv.labels.txt", "c\n")
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n"], "e.mp4 c\n", "f.mp4 b\n")
    clips.setup("fit")
    assert clips.val_manifest.labels.tolist() == [1]
    assert "val.csv.labels.txt numbers classes otherwise than data.train does" in capsys.readouterr().err


def test_two_maps_that_differ_are_refused(tmp_path):
    write(tmp_path / "train0.csv.labels.txt", "b\nc\n")
    write(tmp_path / "train1.csv.labels.txt", "c\nb\n")
    clips = data(tmp_path, ["a.mp4 b\n", "b.mp4 c\n"], "e.mp4 c\n", "f.mp4 b\n")
    with pytest.raises(ManifestError, match="number classes differently; keep one of them"):
        clips.setup("fit")

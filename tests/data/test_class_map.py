"""Names of classes get the same numbers wherever they stand: in every list of a run, and on another day."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from vjepa.data.class_map import read_class_map, write_class_map
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


@pytest.mark.parametrize("text", ["", "a\nb\na\n", "1 a\n2 b\n", "id,name\n1,a\n2,b\n", "0 a\n2 b\n"])
def test_a_map_without_a_number_of_its_own_for_each_class_is_refused(tmp_path, text):
    with pytest.raises(
        ManifestError, match=r"labels\.txt: a map of classes .*expected one name on each line"
    ):
        read_class_map(write(tmp_path / "labels.txt", text))


def test_names_may_begin_with_a_number(tmp_path):
    for names in (["2 hands", "2 feet", "3 balls"], ["level 1", "level 2"], ["walk", "run 2"]):
        assert list(read_class_map(write(tmp_path / "labels.txt", "\n".join(names)))) == names


NASTY = [
    ["1 person", "2 people"],
    ["push down 20", "push up 10"],
    ["level 1", "level 2"],
    ["run 2", "walk"],
    ["1, walk", "2, run"],
    ['"hi" said', 'say "hi", ok', "it's"],
    ["two\nlines", "a\u2028b", "tab\there"],
    ["{a", "{x}", "a {0} b", "a{}", "%s", "\\n"],
    ["0x10", "e5", "[a]", '{"a": 0}', "# a", "path", "labels.json a.mp4", "a.mp4 1"],
    ["caf\u00e9", "\u6b69\u304f", "\u0645\u06cc\u200c\u0631\u0648\u0645", "\U0001f3c3 run"],
]


@pytest.mark.parametrize("names", NASTY)
def test_what_is_written_reads_back_as_itself(tmp_path, names):
    """Whatever the names: a second run has the numbers of the first, and so has a run without any rows."""
    table = pa.table({"path": [f"{i}.mp4" for i in range(len(names))], "label": names})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    first = read_manifest(tmp_path / "a.parquet")
    write_class_map(first.source, first.classes)
    assert read_class_map(tmp_path / "a.parquet.labels.json") == first.classes
    again = read_manifest(tmp_path / "a.parquet")
    assert again.labels.tolist() == first.labels.tolist() and again.classes == first.classes
    assert sorted(first.labels.tolist()) == list(range(len(names)))


@pytest.mark.parametrize(
    "name, other",
    [("caf\u00e9", "cafe\u0301"), ("long jump", "long\u00a0jump"), ("walk", "\u200bwalk\u3000")],
)
def test_names_that_look_alike_are_one_class(tmp_path, name, other):
    assert labels(write(tmp_path / "a.csv", f"path,label\na.mp4,{name}\nb.mp4,{other}\n")) == [0, 0]
    write(tmp_path / "labels.txt", f"{other}\nxylophone\n")
    assert labels(tmp_path / "a.csv") == [0, 0]


@pytest.mark.parametrize("text", ["walk {x}\nrun\n", '{"walk {": 0, "run": 1}'])
def test_braces_are_letters_like_any_other(tmp_path, text):
    write(tmp_path / ("labels.json" if text[0] == "{" else "labels.txt"), text)
    with pytest.raises(
        ManifestError, match=r"line 2: class 'a \{0\}' is none of the 2 of .*walk \{.* numbers the"
    ):
        read_manifest(write(tmp_path / "a.csv", "path,label\na.mp4,a {0}\n"))


@pytest.mark.parametrize("list_", ["path,label\na.mp4,walk\n", "a.mp4,walk\n", "label;path\nwalk;a.mp4\n"])
def test_a_list_that_is_called_labels_is_no_map(tmp_path, list_):
    write(tmp_path / "labels.csv", list_)
    assert labels(write(tmp_path / "a.csv", "a.mp4 walk\nb.mp4 run\n")) == [1, 0]
    write(tmp_path / "labels.txt", "path finding\nwalk\nrun\n")
    assert labels(tmp_path / "a.csv") == [1, 2]


def test_a_map_that_is_no_json(tmp_path):
    for text in ("{", '{"a": "b"}', "3", '{"a": 0.9}', '{"a": true}', '{"a": -1}', '[{"id": 0}]', "[1, 2]"):
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


def test_half_of_a_character_in_a_map_is_named(tmp_path):
    (tmp_path / "labels.json").write_text('{"a": 1, "\\ud800": 0}')
    words = r"labels\.json: the name '\\ud800' holds half of a character; correct it"
    with pytest.raises(ManifestError, match=words):
        read_class_map(tmp_path / "labels.json")


def test_every_list_of_a_run_has_the_numbers_of_training(tmp_path):
    """Validation lacks the first class, and each training list another one."""
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n", "c.mp4,a\nd.mp4,c\n"], "e.mp4 c\n", "path;label\nf.mp4;b\n")
    clips.setup("fit")
    assert [manifest.labels.tolist() for manifest in clips.manifests] == [[1, 2], [0, 2], [2], [1]]
    clips.check_labels(3)
    # From now on each of them has these numbers when it is read alone, and on another day.
    assert json.loads((tmp_path / "val.csv.labels.json").read_text()) == {"a": 0, "b": 1, "c": 2}
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


HEADER = "path,label,label_name\n"


@pytest.mark.parametrize(
    "train, val, words",
    [
        ("a.mp4,0,apple\nb.mp4,1,run\n", "c.mp4,0,run\n", "val.csv: class 0 is 'run' here and 'apple' in"),
        ("a.mp4,0,apple\nb.mp4,1,run\n", "c.mp4,1,apple\n", "val.csv: class 1 is 'apple' here and 'run' in"),
        ("a.mp4,0,run\nb.mp4,0,walk\n", "c.mp4,0,run\n", "train0.csv: class 0 is "),
        ("a.mp4,0,run\nb.mp4,1,run\n", "c.mp4,0,run\n", "train0.csv: class 'run' is "),
    ],
)
def test_a_number_and_its_name_belong_together_in_all_lists(tmp_path, train, val, words):
    clips = data(tmp_path, [HEADER + train], HEADER + val, HEADER + "d.mp4,,\ne.mp4,,jump\n")
    with pytest.raises(ManifestError, match=re.escape(words)):
        clips.check_labels(2)


@pytest.mark.parametrize("name", ["class", "Target", "category", "label_id"])
def test_labels_under_another_name_are_told_so(tmp_path, name):
    clips = data(tmp_path, [f"path,{name}\na.mp4,0\nb.mp4,1\n"], "c.mp4 0\n", "d.mp4 1\n")
    with pytest.raises(ManifestError, match=f"a column is called '{name}': rename it to 'label'"):
        clips.check_labels(2)


def test_a_map_with_a_header_is_named(tmp_path):
    write(tmp_path / "labels.txt", "name\nb\nc\n")
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n"], "e.mp4 c\n", "f.mp4 b\n")
    for classes, words in ((2, "outside 0..1"), (3, "no clip of 1 of")):
        with pytest.raises(ManifestError, match=rf"{words}.*; .*labels\.txt numbers the classes"):
            clips.check_labels(classes)


def test_a_list_without_labels_beside_names_is_told_so(tmp_path):
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n"], "e.mp4\n", "f.mp4 b\n")
    with pytest.raises(
        ManifestError, match=r"val\.csv: 1 of 1 labels lie outside 0\.\.1 .* -1 \(none\) of e\.mp4"
    ):
        clips.check_labels(2)


def test_labels_that_begin_at_one_are_told_so(tmp_path):
    clips = data(tmp_path, ["a.mp4 1\nb.mp4 2\n"], "c.mp4 2\n", "d.mp4 1\n")
    with pytest.raises(ManifestError, match=r"outside 0\.\.1 .*the labels begin at 1, so subtract 1"):
        clips.check_labels(2)


def test_a_map_that_cannot_be_written_stops_nothing(tmp_path, capsys):
    clips = data(tmp_path, ["a.mp4 b\nb.mp4 c\n"], "e.mp4 c\n", "f.mp4 b\n")
    (tmp_path / "train0.csv.labels.json").mkdir()
    clips.setup("fit")
    assert "train0.csv.labels.json cannot be written" in capsys.readouterr().err


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

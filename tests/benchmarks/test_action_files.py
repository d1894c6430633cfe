"""Annotations of actions as spreadsheets and scripts leave them: read alike, or refused in one sentence."""

import json

import pytest

from vjepa.benchmarks.action_files import read_actions
from vjepa.benchmarks.epic_kitchens import EPIC_COLUMNS
from vjepa.benchmarks.question_files import read_questions
from vjepa.data.manifest_files import ManifestError

ROW = ("P01", "P01_01", "00:00:01.5", "00:00:02.5", "3", "114", "take", "sauté pan, big")
OTHER = ("P01", "P01_02", "00:01:00", "01:00:00", "3.0", "7.0", "take", "jar")


def table(*rows: tuple, separator: str = ",", end: str = "\n") -> str:
    quoted = [separator.join(f'"{cell}"' if separator in cell else cell for cell in row) for row in rows]
    return end.join([separator.join(EPIC_COLUMNS), *quoted]) + end


@pytest.mark.parametrize(
    "data",
    [
        table(ROW, OTHER).encode(),
        table(ROW, OTHER).encode("utf-8-sig"),
        table(ROW, OTHER).encode("latin-1"),
        table(ROW, OTHER, end="\r\n").encode("utf-16"),
        table(ROW, OTHER, separator=";").encode(),
        table(ROW, OTHER, separator="\t", end="\r\n").encode("cp1252"),
        (table(ROW, OTHER) + "\n\n").encode(),
    ],
    ids=["utf-8", "mark", "latin-1", "utf-16", "semicolons", "tabs", "blank lines"],
)
def test_annotations_are_read_however_they_were_saved(tmp_path, data):
    source = tmp_path / "EPIC_100_train.CSV"
    source.write_bytes(data)
    first, second = read_actions(source, tmp_path)
    assert (first.path, first.start, first.stop) == (tmp_path / "P01/videos/P01_01.MP4", 1.5, 2.5)
    assert (first.verb, first.noun, second.verb, second.noun) == ("3", "114", "3", "7")
    assert (second.start, second.stop) == (60.0, 3600.0)


def changed(**cells: str) -> bytes:
    return table(tuple((dict(zip(EPIC_COLUMNS, ROW, strict=True)) | cells).values())).encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "no column participant_id"),
        (b"a,b\n1,2\n", "no column participant_id"),
        (table().encode(), "there are no actions"),
        (changed(verb_class="take"), "line 2: .*classes as numbers"),
        (changed(noun_class="1.5"), "line 2: .*classes as numbers"),
        (changed(start_timestamp="1.5"), "line 2: .*HH:MM:SS"),
        (changed(stop_timestamp="00:00:inf"), "line 2: '00:00:inf' is no time; expected times as HH:MM:SS"),
        (changed(start_timestamp="-0:0:1"), "line 2: '-0:0:1' is no time; expected times as HH:MM:SS"),
        (changed(stop_timestamp="9" * 400 + ":0:1"), "line 2: '9.*' is no time"),
        (changed(video_id="../../x"), "line 2: video_id is '../../x'; expected a name such as P01"),
        (changed(participant_id=".."), "line 2: participant_id is '..'; expected a name such as P01"),
        (changed(participant_id="/etc"), "line 2: participant_id is '/etc'; expected a name"),
        (changed(stop_timestamp="00:00:01"), "line 2: the action runs from"),
        (changed(video_id=""), "line 2: participant_id or video_id is empty"),
        (table(ROW, OTHER)[:-20].encode(), "line 3: not as many values"),
        (b"\x00\x01\x02", "a binary file"),
    ],
)
def test_what_is_no_annotation_is_one_sentence(tmp_path, data, sentence):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(ManifestError, match=rf"a\.csv.*{sentence}"):
        read_actions(tmp_path / "a.csv", tmp_path)


EPISODE = {
    "path": "0.mp4",
    "events": [{"time": 1, "event": "lifted", "object": {"name": "a", "colour": "red"}}],
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_log_of_events_is_read_in_any_encoding(tmp_path, encoding):
    (tmp_path / "events.jsonl").write_text(json.dumps(EPISODE) + "\n\n", encoding=encoding)
    (action,) = read_actions(tmp_path / "events.jsonl", None, "colour")
    assert (action.verb, action.noun) == ("lifted", "red")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[1]", "line 1: .*expected an episode of a demo world's log"),
        ('{"path": "0.mp4"}', "line 1: .*it lacks 'events'"),
        ('{"path": "0.mp4", "events": [{}]}', "line 1: .*it lacks 'event'"),
        ('{"path": 3, "events": []}', "line 1: .*expected an episode of a demo world's log"),
        ("{", "line 1: .*expected an episode of a demo world's log"),
    ],
)
def test_what_is_no_log_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(ManifestError, match=sentence):
        read_actions(tmp_path / "events.jsonl", None)


def test_a_folder_is_no_log(tmp_path):
    for name in ("folder", "folder.csv"):
        (tmp_path / name).mkdir()
        with pytest.raises(ManifestError, match=f"{name}: cannot be read: Is a directory"):
            read_actions(tmp_path / name, tmp_path)


MVP = {
    "video_id": "x_0",
    "video_path": "é.mp4",
    "question": "Up?",
    "candidates": ["yes", "no"],
    "answer": "no",
}


@pytest.mark.parametrize("name", ["mvp.json", "mvp.jsonl"])
@pytest.mark.parametrize("as_lines", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_questions_are_read_however_they_were_saved(tmp_path, name, as_lines, encoding):
    rows = [MVP, MVP | {"video_id": "x_1", "answer": "yes"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    text = lines if as_lines else json.dumps(rows, ensure_ascii=False)
    (tmp_path / name).write_text(text, encoding=encoding)
    first, second = read_questions(tmp_path / name, "mvp")
    assert first.media[0].path == tmp_path / "é.mp4"
    assert (first.answer, second.answer, second.pair) == ("no", "yes", "x")


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 1}', "[{}]", "[1,]", "null"])
def test_what_holds_no_questions_is_one_sentence(tmp_path, text):
    (tmp_path / "mvp.json").write_text(text)
    with pytest.raises(ManifestError, match=r"mvp\.json"):
        read_questions(tmp_path / "mvp.json", "mvp")

"""Conversations in the formats that people have: what is read, what is refused, in what order it comes."""

import datetime
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from tests.videos import even_times, write_video
from vjepa.__main__ import main
from vjepa.data.loader import Epoch
from vjepa.data.manifest_files import ManifestError
from vjepa.language import conversation_files
from vjepa.language.batches import EvaluationCaptions, LikeLengths, TrainingCaptions, collate_captions
from vjepa.language.caption_data import CaptionSource
from vjepa.language.conversation_files import read_captions
from vjepa.language.conversations import Media, Turn
from vjepa.language.media import FrameConfig, decode_media

LLAVA = {
    "id": "7",
    "video": "a.mp4",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat happens?"},
        {"from": "gpt", "value": "It falls. "},
        {"from": "human", "value": "Which way?"},
        {"from": "gpt", "value": "Down."},
    ],
}
MESSAGES = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Compare"},
                {"type": "video", "video": "a.mp4"},
                {"type": "text", "text": "and"},
                {"type": "image", "path": "b.png"},
                {"type": "text", "text": "please."},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "Same."}]},
    ],
}
UNMARKED = {
    "videos": ["a.mp4", "c.mp4"],
    "messages": [
        {"role": "user", "content": "Which is longer?"},
        {"role": "assistant", "content": "The first."},
    ],
}


def written(tmp_path: Path, *rows: dict, ending: str = "jsonl") -> Path:
    file = tmp_path / f"rows.{ending}"
    if ending == "parquet":
        pa.parquet.write_table(pa.Table.from_pylist(list(rows)), file)
    else:
        file.write_text(json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows)) + "\n\n")
    return file


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
def test_llava_and_messages_say_the_same_in_every_file(tmp_path, ending):
    captions = read_captions(written(tmp_path, LLAVA, ending=ending))
    row = captions.row(0)
    assert row.media == (Media(tmp_path / "a.mp4", None, None),)
    assert row.turns[:2] == (Turn("user", (0, "\nWhat happens?")), Turn("assistant", ("It falls.",)))
    assert (row.question, row.answer) == ("Which way?", "Down.")


def test_media_between_texts_and_a_system_turn(tmp_path):
    row = read_captions(written(tmp_path, MESSAGES), tmp_path / "media").row(0)
    assert [media.path.name for media in row.media] == ["a.mp4", "b.png"] and row.media[
        0
    ].path.parent.name == "media"
    assert row.turns[0] == Turn("system", ("Be brief.",))
    assert row.turns[1].parts == ("Compare", 0, "\nand", 1, "\nplease.")


def test_media_without_a_place_come_before_the_first_question(tmp_path):
    assert read_captions(written(tmp_path, UNMARKED)).row(0).turns[0].parts == (0, 1, "\nWhich is longer?")


def test_json_texts_inside_a_table(tmp_path):
    row = {"video": "a.mp4", "image": None, "conversations": json.dumps(LLAVA["conversations"])}
    assert read_captions(written(tmp_path, row, ending="parquet")).row(0).answer == "Down."


def changed(**changes) -> dict:
    return {**LLAVA, **changes}


def talk(*turns: tuple[str, str]) -> list[dict]:
    return [{"from": role, "value": text} for role, text in turns]


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (changed(video=None), "has 1 places for media, but 0 videos and 0 images are named"),
        (changed(video=["a.mp4", "b.mp4"]), "has 1 places for media, but 2 videos"),
        (changed(conversations=talk(("human", "Why?"), ("gpt", " "))), "turn 2 is an empty answer"),
        (
            changed(conversations=talk(("gpt", "So."), ("human", "Why?"))),
            "the turns are assistant, user; expected user",
        ),
        (changed(conversations=talk(("human", "Why?"))), "the turns are user; expected"),
        (changed(conversations=talk(("robot", "Why?"))), "turn 1 is spoken by 'robot'"),
        ({"video": "a.mp4", "text": "Why?"}, "has neither conversations nor messages, but video, text"),
        (changed(options=["Up.", "Left."]), r"the answer 'Down.' is none of the options \['Up.', 'Left.'\]"),
        (changed(options="Down."), "options is 'Down.'; expected a list of texts"),
        (changed(video=5), "video is 5; expected a path or a list of paths"),
        (changed(video=[None]), "video is None; expected a path"),
        (
            changed(video=None, image={"bytes": "<bytes>", "path": "a.png"}),
            "image holds a file's bytes; write the file",
        ),
        (changed(pair=["a"]), r"pair is \['a'\]; expected a text"),
        (changed(start="abc"), "start is 'abc'; expected seconds"),
        (changed(start=float("nan")), "start is nan; expected seconds"),
        (changed(end=-1), "end is -1; expected seconds"),
        (changed(start=3, end=2.5), "end is 2.5, which is not after start"),
        (changed(conversations="Why?"), "conversations is 'Why\\?'; expected a list of turns"),
        (changed(conversations=talk((["human"], "Why?"))), r"turn 1 is spoken by \['human'\]"),
        (changed(conversations=talk(("human", 5), ("gpt", "So."))), "turn 1 says 5; expected a text"),
        (
            changed(conversations=talk(("human", [{"type": "text"}]), ("gpt", "So."))),
            "turn 1 holds {'type': 'text'}; expected",
        ),
        (changed(conversations=talk(("human", [5]), ("gpt", "So."))), "turn 1 holds 5; expected a part"),
        (
            changed(conversations=talk(("human", "Why?"), ("gpt", [{"type": "video"}]))),
            "turn 2 is the assistant's and holds media",
        ),
        (changed(conversations=talk(("human", "Why?"), ("gpt", ["A", "B"]))), "turn 2 holds 'A'; expected a"),
        (changed(start=True), "start is True; expected seconds"),
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_named(tmp_path, row, sentence):
    with pytest.raises(ManifestError, match=f"rows.jsonl, row 2: .*{sentence}"):
        read_captions(written(tmp_path, LLAVA, row))


def test_null_is_nothing_and_numbers_are_names(tmp_path):
    rows = read_captions(written(tmp_path, changed(pair=None, kind=None, start=None), changed(pair=7, end=2)))
    assert (rows.row(0).pair, rows.row(0).kind, rows.row(1).pair) == ("", "", "7")
    assert rows.row(1).media[0].end == 2


def typed(*, parts: bool, **media) -> dict:
    """A user who types a marker as a word, in a text or in a list of parts."""
    text = "What does the <video> tag do?"
    content = [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": text}] if parts else text
    return media | {
        "messages": [
            {"role": "user", "content": content},
            {"role": "assistant", "content": "It shows <video>s."},
        ]
    }


def test_a_marker_typed_by_a_user_is_a_word_among_parts_and_refused_where_it_has_no_medium(tmp_path):
    row = read_captions(written(tmp_path, typed(parts=True))).row(0)
    assert row.turns[0].parts == (0, "\nWhat does the <video> tag do?") and row.answer == "It shows <video>s."
    for media in ({}, {"videos": ["a.mp4", "b.mp4"]}):
        with pytest.raises(ManifestError, match="the text has 1 places for media, but"):
            read_captions(written(tmp_path, typed(parts=False, **media)))


def test_other_ends_of_lines_do_not_cut_a_row(tmp_path):
    row = changed(conversations=talk(("human", "<video>What\u2028now\x85?"), ("gpt", "So.")))
    text = json.dumps(row, ensure_ascii=False)
    (tmp_path / "rows.jsonl").write_bytes(b"\xef\xbb\xbf" + (text + "\r\n" + text).encode())
    captions = read_captions(tmp_path / "rows.jsonl")
    assert len(captions) == 2 and captions.row(1).question == "\nWhat\u2028now\x85?"


def test_a_table_holds_more_than_json(tmp_path):
    when = datetime.datetime(2020, 1, 1)
    row = {"image": {"bytes": None, "path": "b.png"}, "made": when, "conversations": LLAVA["conversations"]}
    assert read_captions(written(tmp_path, row, ending="parquet")).row(0).media[0].path == tmp_path / "b.png"
    with pytest.raises(ManifestError, match="row 1: image holds a file's bytes"):
        read_captions(
            written(tmp_path, row | {"image": {"bytes": b"png", "path": "b.png"}}, ending="parquet")
        )
    with pytest.raises(ManifestError, match="row 1: start is '<datetime>'; expected seconds"):
        read_captions(written(tmp_path, row | {"start": when}, ending="parquet"))
    with pytest.raises(ManifestError, match="row 2, conversations: not JSON"):
        texts = [json.dumps(LLAVA["conversations"]), "[{"]
        read_captions(
            written(tmp_path, *({"video": "a.mp4", "conversations": t} for t in texts), ending="parquet")
        )


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.jsonl", '{"a": 1}\n{"a"', "a.jsonl, line 2: not JSON"),
        ("a.json", '{"data": []}', "a.json, row 1: has neither conversations nor messages, but data"),
        (
            "a.json",
            '[\n{"a": 1,}\n]',
            r"a.json: not JSON: .* \(line 2, column \d+\); is there a comma too many",
        ),
        ("a.jsonl", '{"a": 1}\n{"a": 1,}', r"a.jsonl, line 2: not JSON: .* \(column \d\)"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "b', r"line 2: not JSON: .*; is its end cut off\?$"),
        ("a.json", '[{"a": 1},\n', r"a.json: not JSON: .*; is its end cut off\?$"),
        ("a.jsonl", '{"a": 1}\n{"a": 1},', "line 2: not JSON: Extra data .*; expected one row a line"),
        (
            "a.jsonl",
            '{\n"a": 1\n}\n{\n"a": 1\n}',
            "a.jsonl: not JSON: Extra data .*; expected one row a line",
        ),
        ("a.json", '{"a": 1}\n[1]', "a.json, row 1: has neither"),
        ("a.json", "[[1]]", "a.json, row 1: is a list; expected an object"),
        ("a.json", "[]", "there are no rows"),
        ("a.json", " \n", "there are no rows"),
        ("a.json", "\x00\x01", "a binary file"),
        ("a.csv", "a,b", "conversations are kept in .json, .jsonl or .parquet, not in '.csv'"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=sentence):
        read_captions(tmp_path / name)


def llava_lines(*rows: dict) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


CAFE = {"video": "caf\u00e9.mp4", "conversations": LLAVA["conversations"]}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("lines under the name of a list.json", llava_lines(CAFE, CAFE).encode()),
        ("list on one line.jsonl", json.dumps([CAFE, CAFE]).encode()),
        ("list on many lines.jsonl", json.dumps([CAFE, CAFE], indent=2).encode()),
        ("mark.json", b"\xef\xbb\xbf" + json.dumps([CAFE, CAFE]).encode()),
        ("western.jsonl", llava_lines(CAFE, CAFE).encode("latin-1")),
        ("windows.ndjson", llava_lines(CAFE, CAFE).replace("\n", "\r\n").encode("utf-16")),
        ("blank lines.jsonl", ("\n\n" + llava_lines(CAFE) + "\n\n" + llava_lines(CAFE) + "\n").encode()),
    ],
)
def test_the_content_and_not_the_ending_says_how_rows_are_kept(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    captions = read_captions(tmp_path / name)
    assert len(captions) == 2
    assert captions.row(1).media[0].path == tmp_path / "caf\u00e9.mp4"


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_object_is_one_row(tmp_path, indent):
    (tmp_path / "one.json").write_text(json.dumps(LLAVA, indent=indent))
    assert len(read_captions(tmp_path / "one.json")) == 1


def openai(kind: str, medium: object) -> dict:
    shown = {"type": f"{kind}_url", f"{kind}_url": medium}
    content = [shown, {"type": "text", "text": "What happens?"}]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "It falls."}]}


@pytest.mark.parametrize(
    "row",
    [
        {"video": "a.mp4", "conversations": talk(("Human", "<video>What happens?"), ("GPT", "It falls."))},
        {"video": ["a.mp4"], "conversations": talk(("user", "What happens?"), ("bot", "It falls."))},
        {"videos": ["a.mp4"], "conversations": talk(("human", "What happens?"), ("assistant", "It falls."))},
        {
            "id": 7,
            "video": "a.mp4",
            "conversations": talk(("human", "What happens?"), ("chatgpt", "It falls.")),
        },
        {
            "video": "a.mp4",
            "messages": None,
            "conversations": talk(("human", "What happens?"), ("gpt", "It falls.")),
        },
        {
            "image": "a.mp4",
            "conversations": talk(("system", ""), ("human", "What happens?"), ("gpt", "It falls.")),
        },
        openai("video", {"url": "a.mp4"}),
        openai("image", "a.mp4"),
        {
            "messages": [
                {"role": "user", "content": [{"video": "a.mp4"}, {"text": "What happens?"}]},
                {"role": "assistant", "content": "It falls."},
            ]
        },
    ],
)
def test_every_dialect_says_the_same(tmp_path, row, capsys):
    read = read_captions(written(tmp_path, row)).row(0)
    assert read.media == (Media(tmp_path / "a.mp4", None, None),)
    assert read.turns == (Turn("user", (0, "\nWhat happens?")), Turn("assistant", ("It falls.",)))
    assert capsys.readouterr().err == ""


def test_where_media_may_be(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    rows = [openai("video", {"url": "file:///data/my%20clip.mp4"}), changed(video="~/a.mp4")]
    rows += [changed(video=url) for url in ("file://sub/a.mp4", "file://localhost/a.mp4", "FILE:/a#1.mp4")]
    captions = read_captions(written(tmp_path, *rows))
    paths = [captions.row(i).media[0].path for i in range(5)]
    assert paths[:2] == [Path("/data/my clip.mp4"), tmp_path / "home/a.mp4"]
    assert paths[2:] == [tmp_path / "sub/a.mp4", Path("/a.mp4"), Path("/a#1.mp4")]
    elsewhere = (
        "https://example.org/a.mp4",
        "HTTPS://x/a.mp4",
        "data:image/png;base64,AAAA",
        "oss://b/a.mp4",
    )
    for url in (*elsewhere, "s3://bucket/a.mp4", "file://"):
        with pytest.raises(ManifestError, match=r"row 1: video_url is .*write the file into a folder"):
            read_captions(written(tmp_path, openai("video", {"url": url})))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Picture 1: <img>a.mp4</img>\nWhat?", ("Picture 1:", 0, "\nWhat?")),
        ("<Img>a.mp4</Img>What?", (0, "\nWhat?")),
        ("<video> a.mp4 </video> What?", (0, "\nWhat?")),
        ("Is <x> in <img>a.mp4</img> <image>a.mp4</image>?", ("Is <x> in", 0, 1, "\n?")),
    ],
)
def test_a_mark_may_hold_its_path(tmp_path, text, parts):
    """As Qwen-VL's files write it. The row names no media."""
    row = read_captions(written(tmp_path, {"conversations": talk(("user", text), ("assistant", "So."))})).row(
        0
    )
    assert row.turns[0].parts == parts
    assert {media.path for media in row.media} == {tmp_path / "a.mp4"}


@pytest.mark.parametrize("mark", ["<Video>", "<VIDEO>", "<Image>"])
def test_marks_may_be_in_any_case(tmp_path, mark):
    row = changed(conversations=talk(("human", f"Why? {mark}"), ("gpt", "So.")))
    assert read_captions(written(tmp_path, row)).row(0).turns[0].parts == ("Why?", 0)


@pytest.mark.parametrize(
    "mark",
    [
        *(
            "<VideoHere>",
            "<ImageHere>",
            "<Img><ImageHere></Img>",
            "<|image_1|>",
            "<|vision_start|>",
            "<image 1>",
        ),
        *(
            "<|video_pad|>",
            "<IMG_CONTEXT>",
            "<video>./</video>",
            "<vid_patch>",
            "<start_of_image>",
            "<audio>",
        ),
        *("<img>https://example.org/a</img>", "<image_placeholder>", "<vila/video>", "<image/>"),
    ],
)
@pytest.mark.parametrize("media", [{}, {"video": "a.mp4"}])
def test_marks_of_other_models_are_refused(tmp_path, mark, media):
    row = media | {"conversations": talk(("human", f"{mark}Why?"), ("gpt", "So."))}
    with pytest.raises(
        ManifestError, match=r"row 1: turn 1 has the mark <.*; only <video> and <image> are read"
    ):
        read_captions(written(tmp_path, row))


def test_other_words_in_brackets_are_words(tmp_path):
    text = 'Is <b>, <box>, <videographer>, <im_start>, <img src="a.png"> or a < image > b a tag?'
    row = changed(conversations=talk(("human", text), ("gpt", "See <VideoHere>.")))
    assert read_captions(written(tmp_path, row)).row(0).turns[0].parts == (0, "\n" + text)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"Video": "a.mp4"}, "nothing reads Video, which names 'a.mp4'; did you mean video for Video?"),
        ({"video_path": "a.MP4"}, "nothing reads video_path, which names 'a.MP4'; did you mean video?"),
        ({"media": ["a.png", "b.png"]}, "nothing reads media, which names 'a.png'; did you mean image?"),
        ({"clip": {"path": "a.webm"}}, "nothing reads clip, which names 'a.webm'; did you mean video?"),
        ({"video": "a.mp4", "vidoes": ["b.mp4"]}, "nothing reads vidoes, which names 'b.mp4'; did you mean"),
    ],
)
def test_a_key_that_names_media_is_not_lost_with_a_note(tmp_path, row, sentence):
    row = row | {"conversations": talk(("human", "Why?"), ("gpt", "So."))}
    with pytest.raises(ManifestError, match=f"row 1: {re.escape(sentence)}"):
        read_captions(written(tmp_path, row))


def test_media_of_a_turn_are_not_lost_and_names_beside_media_are_noted(tmp_path, capsys):
    turns = [
        {"role": "user", "content": "Why?", "images": ["a.png"]},
        {"role": "assistant", "content": "So."},
    ]
    with pytest.raises(ManifestError, match=r"nothing reads turn\.images, .* did you mean image"):
        read_captions(written(tmp_path, {"messages": turns}))
    read_captions(written(tmp_path, changed(thumbnail="a.jpg", id="b.mp4", duration=3.5, created="2024")))
    assert "keys that are not read: thumbnail (1 rows), duration (1 rows), created" in capsys.readouterr().err


@pytest.mark.parametrize(
    "segment",
    [
        *(
            {"start_time": 1, "end_time": 2},
            {"end_time": "00:02"},
            {"video_start": 0.0},
            {"clip": [1.0, 3.0]},
        ),
        *({"timestamp": ["00:00:00", "00:00:05"]}, {"startTime": 1}, {"end_sec": 2}, {"start_frame": 30}),
        {"segment": {"from": 1, "to": 2}},
    ],
)
def test_a_part_of_the_video_under_another_name_is_refused(tmp_path, segment):
    name = next(iter(segment))
    with pytest.raises(
        ManifestError, match=f"row 1: {name} names a part of the video, but only the row's own"
    ):
        read_captions(written(tmp_path, changed(**segment)))
    part = {"type": "video", "video": "a.mp4"} | segment
    row = {"messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "So."}]}
    with pytest.raises(ManifestError, match=rf"row 1: part\.{name} names a part of the video"):
        read_captions(written(tmp_path, row))
    assert len(read_captions(written(tmp_path, changed(**dict.fromkeys(segment))))) == 1


def test_times_that_are_no_part_of_a_video_are_notes(tmp_path):
    about = changed(timestamp="2024-01-01", segment="train", duration=5.0)
    text_alone = {"start_time": 1, "conversations": talk(("human", "Why?"), ("gpt", "So."))}
    assert len(read_captions(written(tmp_path, about, text_alone))) == 2


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ude00\\ud83d"])
@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_half_of_a_character_is_named(tmp_path, half, ending):
    whole = changed(conversations=talk(("human", "Why? \U0001f600 \\ud83d"), ("gpt", "So.")))
    text = json.dumps(whole)
    bad = text.replace("Why?", half)
    (tmp_path / f"a.{ending}").write_text(f"[{text}, {bad}]" if ending == "json" else f"{text}\n{bad}")
    with pytest.raises(ManifestError, match=r"row 2: holds half of a character \('\\ud"):
        read_captions(tmp_path / f"a.{ending}")
    with pytest.raises(SystemExit, match="2"):
        main(["data", "check-conversations", str(tmp_path / f"a.{ending}")])


def test_a_system_text_beside_the_turns(tmp_path):
    row = changed(system="Be brief.")
    assert read_captions(written(tmp_path, row)).row(0).turns[0] == Turn("system", ("Be brief.",))
    own = talk(("system", "Be long."), *(("human", "<video>Why?"), ("gpt", "So.")))
    turns = read_captions(written(tmp_path, row | {"conversations": own})).row(0).turns
    assert [turn.parts for turn in turns if turn.role == "system"] == [("Be long.",)]


def test_keys_that_nothing_reads_are_counted_once(tmp_path, capsys):
    weighted = [turn | {"weight": 0} for turn in LLAVA["conversations"]]
    rows = [changed(source="web"), changed(source="web", optoins=["x"]), changed(conversations=weighted)]
    read_captions(written(tmp_path, *rows))
    read_captions(tmp_path / "rows.jsonl")
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].endswith(
        "rows.jsonl: keys that are not read: source (2 rows), optoins (1 rows; did you mean options?), "
        "turn.weight (1 rows)"
    )


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"video": "a.mp4", "converstions": []}, "did you mean conversations for converstions"),
        ({"vidoe": "a.mp4", "conversations": LLAVA["conversations"]}, "did you mean video for vidoe"),
        ({"message": []}, "did you mean messages for message"),
        ({"captions": []}, "but captions$"),
        (changed(conversations=[]), r"conversations is \[\]; expected a list of turns"),
        (changed(conversations=[["human", "Why?"]]), "turn 1 is spoken by None"),
        (
            changed(conversations=[{"from": "human", "vlaue": "<video>Why?"}]),
            "turn 1 has neither value nor content, but from, vlaue",
        ),
        (changed(video=float("nan")), "video is nan; expected a path"),
        (
            changed(conversations=talk(("human", "<image><image>Why?"), ("gpt", "So."))),
            "has 2 places for media",
        ),
    ],
)
def test_a_misspelt_key_is_pointed_to(tmp_path, row, sentence):
    with pytest.raises(ManifestError, match=f"rows.jsonl, row 1: .*{sentence}"):
        read_captions(written(tmp_path, row))


def test_check_names_every_bad_row(tmp_path, capsys):
    write_video(tmp_path / "a.mp4", even_times(4), size=(32, 32))
    rows = (
        LLAVA,
        changed(video="gone.mp4"),
        changed(conversations=talk(("human", "Why?"), ("gpt", ""))),
        changed(conversations=talk(("human", "Why? " * 50), ("gpt", "So."))),
    )
    with pytest.raises(SystemExit, match="2"):
        main(["data", "check-conversations", str(written(tmp_path, *rows)), "--longest", "200"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("4 rows, 1 ok, 3 bad")
    assert [line.split(":")[0] for line in lines[1:]] == ["row 2", "row 3", "row 4"]
    problems = ("no file", "empty answer", "characters of text are too long")
    assert all(problem in line for problem, line in zip(problems, lines[1:], strict=True))
    main(["data", "check-conversations", str(written(tmp_path, changed(quality=5)))])
    assert "keys that are not read: quality (1 rows)" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["data", "check-conversations", str(tmp_path / "none.json")])


def test_videos_are_shown_whole_and_pictures_once(tmp_path):
    levels = [np.full((32, 48, 3), 8 * i, np.uint8) for i in range(30)]
    write_video(tmp_path / "a.mp4", even_times(30), pictures=levels, size=(48, 32))
    frames = decode_media(Media(tmp_path / "a.mp4", None, None), FrameConfig(5, 16))
    assert frames.shape == (5, 3, 16, 16)
    assert [round(float(frame.float().mean()) / 8) for frame in frames] == [3, 9, 15, 21, 27]
    part = decode_media(Media(tmp_path / "a.mp4", 0.5, None), FrameConfig(2, 16))
    assert part.float().mean() > frames.float().mean()
    from PIL import Image

    Image.fromarray(levels[20]).save(tmp_path / "b.png")
    assert decode_media(Media(tmp_path / "b.png", None, None), FrameConfig(5, 16)).shape == (1, 3, 16, 16)


@pytest.fixture
def training(tmp_path) -> TrainingCaptions:
    rows = [
        changed(video=None, conversations=talk(("human", "Why?" * n), ("gpt", "So."))) for n in range(1, 101)
    ]
    captions = read_captions(written(tmp_path, *rows))
    return TrainingCaptions([captions], [1.0], FrameConfig(), None, seed=0)


def order_of(training, rank: int = 0, world: int = 1, batch: int = 4, accumulated: int = 1, among: int = 32):
    epoch = Epoch(32 * accumulated, 32 * accumulated)
    return LikeLengths(training, epoch, batch, rank, world, accumulated, among)


def test_batches_hold_rows_of_like_length_and_every_row_once(training):
    batches = list(order_of(training))
    assert sorted(k for batch in batches for k in batch) == list(range(128))
    spread = [max(map(training.length, batch)) - min(map(training.length, batch)) for batch in batches]
    assert sum(spread) / len(spread) < 30  # of about 400
    lengths = [training.length(batch[0]) for batch in batches]
    assert lengths != sorted(lengths)
    assert [sorted(batch) for batch in order_of(training, among=1)] == [
        list(range(4 * i, 4 * i + 4)) for i in range(32)
    ]  # not grouped at all


@pytest.mark.parametrize(("world", "accumulated"), [(2, 1), (1, 2), (2, 2), (4, 1), (1, 4)])
@pytest.mark.parametrize("among", [1, 3, 32])
def test_a_step_holds_the_same_rows_on_any_number_of_devices_and_batches(training, world, accumulated, among):
    batch = 4 // (world * accumulated)
    shares = [list(order_of(training, rank, world, batch, accumulated, among)) for rank in range(world)]
    steps = [
        [k for i in range(accumulated) for share in shares for k in share[step * accumulated + i]]
        for step in range(32)
    ]
    assert steps == list(order_of(training, among=among))


def test_the_order_of_batches_does_not_depend_on_restarts(training):
    later = order_of(training, accumulated=2)
    later.consumed = 20
    assert list(later) == list(order_of(training, accumulated=2))[20:]


def test_a_video_that_cannot_be_decoded_is_replaced_in_training_and_left_out_of_evaluation(tmp_path):
    write_video(tmp_path / "a.mp4", even_times(4), size=(32, 32))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    captions = read_captions(written(tmp_path, LLAVA, changed(video="bad.mp4")))
    training = TrainingCaptions([captions], [1.0], FrameConfig(2, 16), None, seed=0)
    batch = collate_captions([training[k] for k in range(8)])
    assert len(batch.rows) == len(batch.clip) == 8 and batch.lost == 0
    assert len(batch.bad) == 4 and "bad.mp4" in batch.bad[0]
    evaluation = EvaluationCaptions(captions, FrameConfig(2, 16), None)
    batch = collate_captions([evaluation[0], evaluation[1]])
    assert batch.lost == 1 and batch.index.tolist() == [0] and batch.clip[0].dtype == torch.uint8


def test_a_source_says_where_its_media_are():
    assert CaptionSource("a.json").folder is None


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_a_number_of_more_digits_than_python_reads_is_one_sentence(tmp_path, ending):
    (tmp_path / f"a{ending}").write_text('{"id": 1}\n[1' + "0" * 5000 + "]")
    (tmp_path / "b.json").write_text("[1" + "0" * 5000 + "]")
    with pytest.raises(ManifestError, match=rf"a{ending}, line 2: a number of thousands of digits; expected"):
        read_captions(tmp_path / f"a{ending}")
    with pytest.raises(ManifestError, match=r"b\.json: a number of thousands of digits"):
        read_captions(tmp_path / "b.json")


def test_a_row_of_very_many_keys_is_refused_soon(tmp_path, monkeypatch):
    compared = []
    monkeypatch.setattr(conversation_files, "misspelt", lambda row: compared.append(len(row)) or "")
    (tmp_path / "a.json").write_text(json.dumps({f"a{number}": number for number in range(5000)}))
    with pytest.raises(ManifestError, match=r"a\.json, row 1: "):
        read_captions(tmp_path / "a.json")
    assert compared == [conversation_files.MOST_KEYS]

"""Questions of public benchmarks, in the files that their authors publish, as conversations with options.

    rows = read_questions("mc_question_valid.json", "perceptiontest", media="videos")

perceptiontest  {video: {"mc_question": [{"question", "options": [3 texts], "answer_id", "area"}]}}
tempcompass     multi-choice, yes_no or caption matching: {video: {dimension: [{"question": "...\\nA. ...\\nB. ...",
                "answer"}]}}, or rows {"video_id", "question", "answer", "dim"}
mvp             rows {"video_id": "x_0", "video_path", "question", "candidates": [2 texts], "answer": text, "source"}; x_0
                and x_1 ask the same with opposite answers, and both must be right
temporalbench   rows {"idx", "video_name", "question": "...\\nA. ...\\nB. ...", "GT": letter, "category"}; all of a video's
                questions must be right for its multiple-binary accuracy
tomato          {number: {"question", "options", "answer": index, "demonstration_type", "motion_type", "key"}}

The videos are not copied: each benchmark's own page says how to get them. Captioning tasks that a language model has to mark
are left out.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vjepa.data.captions import Conversation, Media, Turn, parsed, read_captions
from vjepa.data.manifest import ManifestError

LISTED = re.compile(r"^\s*\(?([A-Z])[.):]\s*(.+?)\s*$", re.MULTILINE)


def read_questions(path: str | Path, kind: str = "conversations", media: str | Path | None = None) -> list[Conversation]:
    """Questions of a file; `media` is the folder of the videos, if not the file's. Raises ManifestError."""
    source = Path(path)
    folder = Path(media) if media else source.parent
    if kind == "conversations":
        captions = read_captions(source, media)
        return [captions.row(i) for i in range(len(captions))]
    try:
        text = source.read_text()
    except OSError as error:
        raise ManifestError(f"{source}: cannot be read: {error.strerror}") from error
    lines = source.suffix == ".jsonl"
    content = [parsed(line, str(source)) for line in text.splitlines() if line.strip()] if lines else parsed(text, str(source))
    try:
        rows = list(READERS[kind](content, folder))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ManifestError(f"{source}: is not a file of {kind}: {type(error).__name__} {error}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no questions in it")
    return rows


def asked(video: Path, question: str, options: Sequence[str], answer: str, kind: str, pair: str = "") -> Conversation:
    """A row. Raises ManifestError if the answer is none of the options."""
    if answer not in options:
        raise ManifestError(f"the answer {answer!r} to {question!r} is none of the options {list(options)}")
    turns = (Turn("user", (0, "\n" + question)), Turn("assistant", (answer,)))
    return Conversation((Media(video, None, None),), turns, tuple(options), kind, pair)


def listed(text: str) -> tuple[str, list[str], str]:
    """(question, options, letters) of a text that lists its options by letter, one a line."""
    found = LISTED.findall(text)
    question = text[: LISTED.search(text).start()].strip() if found else text.strip()
    return question, [option for _, option in found], "".join(letter for letter, _ in found)


def perceptiontest(content: dict, folder: Path) -> Iterator[Conversation]:
    for video, about in content.items():
        for question in about["mc_question"]:
            options = question["options"]
            right = options[int(question["answer_id"])]
            yield asked(folder / f"{video}.mp4", question["question"], options, right, question.get("area", ""))


def tempcompass(content: dict | list, folder: Path) -> Iterator[Conversation]:
    nested = isinstance(content, dict)
    flat = ((v, dim, q) for v, dims in content.items() for dim, qs in dims.items() for q in qs) if nested else None
    rows = flat or ((row["video_id"], row["dim"], row) for row in content)
    for video, dimension, row in rows:
        question, options, letters = listed(row["question"])
        answer = row["answer"].strip()
        if not options:
            options = ["yes", "no"]
        elif answer[:1] in letters and (len(answer) == 1 or answer[1] in ".):"):
            answer = options[letters.index(answer[0])]
        yield asked(folder / f"{video}.mp4", question, options, answer, dimension)


def mvp(content: list, folder: Path) -> Iterator[Conversation]:
    for row in content:
        options = row["candidates"]
        options = ast.literal_eval(options) if isinstance(options, str) else options
        options, pair = [str(option) for option in options], row["video_id"].rpartition("_")[0]
        video = folder / row["video_path"].lstrip("/")
        yield asked(video, row["question"], options, str(row["answer"]), row.get("source", ""), pair)


def temporalbench(content: list, folder: Path) -> Iterator[Conversation]:
    for row in content:
        question, options, letters = listed(row["question"])
        right = options[letters.index(row["GT"].strip().upper())]
        kind = str(row.get("category") or row.get("dataset") or "")
        yield asked(folder / row["video_name"], question, options, right, kind, row["video_name"])


def tomato(content: dict, folder: Path) -> Iterator[Conversation]:
    for row in content.values():
        video = folder / row["demonstration_type"] / f"{row['key']}.mp4"
        yield asked(video, row["question"], row["options"], row["options"][int(row["answer"])], row.get("motion_type", ""))


READERS: dict[str, Callable[[dict | list, Path], Iterator[Conversation]]] = {
    reader.__name__: reader for reader in (perceptiontest, tempcompass, mvp, temporalbench, tomato)
}

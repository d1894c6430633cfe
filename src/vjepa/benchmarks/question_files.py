"""Questions of public benchmarks, in the files that their authors publish, as conversations with options.

    rows = read_questions("mc_question_valid.json", "perceptiontest", media="videos")

perceptiontest  {video: {"mc_question": [{"question", "options": [3 texts], "answer_id", "area"}]}}
tempcompass     multi-choice, yes_no or caption_matching: {video: {dimension: [{"question": "...\\nA. ...\\nB. ...",
                "answer"}]}}, or rows {"video_id", "question", "answer", "dim"}; captions are listed as `Caption A: ...`,
                `Sentence A: ...` or `Option 1: ...`
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

from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversation_files import json_lines, parsed, read_captions, text_in
from vjepa.language.conversations import Conversation, Media, Turn

LISTED = re.compile(
    r"^\s*(?:\(?|(?:Caption|Sentence|Option) )((?<=Option )[1-9]|[A-Z])[.):]\s*(.+?)\s*$", re.MULTILINE
)


def read_questions(
    path: str | Path, kind: str = "conversations", media: str | Path | None = None
) -> list[Conversation]:
    """Questions of a file; `media` is the folder of the videos, if not the file's. Raises ManifestError."""
    source = Path(path)
    folder = Path(media) if media else source.parent
    if kind == "conversations":
        captions = read_captions(source, media)
        return [captions.row(i) for i in range(len(captions))]
    lines = source.suffix.lower() == ".jsonl"
    content = [value for _, value in json_lines(source)] if lines else parsed(text_in(source), str(source))
    rows = []
    try:
        rows.extend(READERS[kind](content, folder))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, SyntaxError) as error:
        why = f"is not one of {kind}: {type(error).__name__} {error}"
        said = str(error) if isinstance(error, ManifestError) else why
        raise ManifestError(f"{source}, question {len(rows) + 1}: {said}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no questions in it")
    return rows


def asked(
    video: Path, question: str, options: Sequence[str], answer: str, kind: str, pair: str = ""
) -> Conversation:
    """A row. Raises ManifestError if the answer is none of the options."""
    if answer not in options:
        raise ManifestError(f"the answer {answer!r} to {question!r} is none of the options {list(options)}")
    turns = (Turn("user", (0, "\n" + question)), Turn("assistant", (answer,)))
    return Conversation((Media(video, None, None),), turns, tuple(options), kind, pair)


def listed(text: str) -> tuple[str, list[str], list[str]]:
    """(question, options, their letters or numbers) of a text that lists its options, one a line."""
    found = LISTED.findall(text)
    question = text[: LISTED.search(text).start()].strip() if found else text.strip()
    return question, [option for _, option in found], [letter for letter, _ in found]


def numbered(options: Sequence[str], number: object) -> str:
    """Option of that number, counted from 0. Raises ManifestError if there is none."""
    if str(number) not in map(str, range(len(options))):
        raise ManifestError(
            f"the answer is number {number!r}; expected one of {len(options)} options, counted from 0"
        )
    return options[int(number)]


def perceptiontest(content: dict, folder: Path) -> Iterator[Conversation]:
    for video, about in content.items():
        for question in about["mc_question"]:
            options = question["options"]
            right = numbered(options, question["answer_id"])
            yield asked(
                folder / f"{video}.mp4", question["question"], options, right, question.get("area", "")
            )


def tempcompass(content: dict | list, folder: Path) -> Iterator[Conversation]:
    nested = isinstance(content, dict)
    flat = (
        ((v, dim, q) for v, dims in content.items() for dim, qs in dims.items() for q in qs)
        if nested
        else None
    )
    rows = flat or ((row["video_id"], row["dim"], row) for row in content)
    for video, dimension, row in rows:
        question, options, letters = listed(row["question"])
        answer = row["answer"].strip()
        letter = LISTED.sub(r"\1", answer)
        right = options[letters.index(letter)] if letter in letters else answer if options else answer.lower()
        yield asked(folder / f"{video}.mp4", question, options or ["yes", "no"], right, dimension)


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
        letter = row["GT"].strip().upper()
        if letter not in letters:
            raise ManifestError(
                f"the answer is {letter!r}; expected one of the letters {letters} of {question!r}"
            )
        kind = str(row.get("category") or row.get("dataset") or "")
        yield asked(
            folder / row["video_name"],
            question,
            options,
            options[letters.index(letter)],
            kind,
            row["video_name"],
        )


def tomato(content: dict, folder: Path) -> Iterator[Conversation]:
    for row in content.values():
        video, options = folder / row["demonstration_type"] / f"{row['key']}.mp4", row["options"]
        yield asked(
            video, row["question"], options, numbered(options, row["answer"]), row.get("motion_type", "")
        )


READERS: dict[str, Callable[[dict | list, Path], Iterator[Conversation]]] = {
    reader.__name__: reader for reader in (perceptiontest, tempcompass, mvp, temporalbench, tomato)
}

"""Questions of public benchmarks, in the files that their authors publish, as conversations with options.

    rows = read_questions("mc_question_valid.json", "perceptiontest", media="videos")

perceptiontest  {video: {"mc_question": [{"question", "options": [3 texts], "answer_id", "area"}]}}
tempcompass     multi-choice, yes_no or caption_matching: {video: {dimension: [{"question", "answer"}]}}, or
                rows {"video_id", "question", "answer", "dim"}; a question lists its options, one a line, as
                `A. ...`, `Caption A: ...`, `Sentence A: ...` or `Option 1: ...`
mvp             rows {"video_id": "x_0", "video_path", "question", "candidates": [2 texts], "answer": text,
                "source"}; x_0 and x_1 ask the same with opposite answers, and both must be right
temporalbench   rows {"idx", "video_name", "question", "GT": letter, "category"}, a question lists its
                options as above; for the multiple-binary accuracy all questions of a video must be right
tomato          {number: {"question", "options", "answer": index, "demonstration_type", "motion_type", "key"}}

The videos are not copied: each benchmark's own page says how to get them. Captioning tasks, which need a
language model as judge, are left out.
"""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vjepa.data.manifest_files import ManifestError
from vjepa.language.conversation_files import read_captions, read_json
from vjepa.language.conversations import Conversation, Media, Turn

# A digit counts only after `Option `, because numbered lines may belong to the question.
LISTED_OPTION = re.compile(
    r"^\s*(?:\(?|(?:Caption|Sentence|Option) )((?<=Option )[1-9]|[A-Z])[.):]\s*(.+?)\s*$", re.MULTILINE
)
"""A line that lists an option. Groups: its letter or number, and its text."""


def read_questions(
    path: str | Path, kind: str = "conversations", media: str | Path | None = None
) -> list[Conversation]:
    """Questions of a file of one benchmark (`kind`), or of our own conversations. Raises ManifestError.

    media: the folder of the videos, if not that of the file.
    """
    source = Path(path)
    if kind == "conversations":
        captions = read_captions(source, media)
        return [captions.row(i) for i in range(len(captions))]

    content = read_json(source)
    # `extend` keeps the rows before an error, so their count gives the number of the bad question.
    rows: list[Conversation] = []
    try:
        rows.extend(READERS[kind](content, Path(media) if media else source.parent))
    except ManifestError as error:
        raise ManifestError(f"{source}, question {len(rows) + 1}: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, SyntaxError) as error:
        # Any of these: the file has another structure than the benchmark's.
        problem = f"is not one of {kind}: {type(error).__name__} {error}"
        raise ManifestError(f"{source}, question {len(rows) + 1}: {problem}") from error
    if not rows:
        raise ManifestError(f"{source}: there are no questions in it")
    return rows


def question_row(
    video: Path, question: str, options: Sequence[str], answer: str, kind: str, pair: str = ""
) -> Conversation:
    """A question about one video. Raises ManifestError if the answer is none of the options."""
    if answer not in options:
        raise ManifestError(f"the answer {answer!r} to {question!r} is none of the options {list(options)}")
    turns = (Turn("user", (0, "\n" + question)), Turn("assistant", (answer,)))
    return Conversation((Media(video, None, None),), turns, tuple(options), kind, pair)


def split_options(text: str) -> tuple[str, list[str], list[str]]:
    """(question, options, their letters or numbers) of a text that lists its options, one a line."""
    matches = list(LISTED_OPTION.finditer(text))
    question = text[: matches[0].start()] if matches else text
    letters = [match[1] for match in matches]
    options = [match[2] for match in matches]
    return question.strip(), options, letters


def option_at(options: Sequence[str], number: object) -> str:
    """The option of a number, counted from 0. Raises ManifestError if there is none."""
    # As text: files hold "1" as well as 1, and Python would take -1 for the last option.
    if str(number) not in map(str, range(len(options))):
        raise ManifestError(
            f"the answer is number {number!r}; expected one of {len(options)} options, counted from 0"
        )
    return options[int(number)]


def perceptiontest(content: dict, folder: Path) -> Iterator[Conversation]:
    for video, annotation in content.items():
        path = folder / f"{video}.mp4"
        for row in annotation["mc_question"]:
            options = row["options"]
            answer = option_at(options, row["answer_id"])
            yield question_row(path, row["question"], options, answer, row.get("area", ""))


def tempcompass(content: dict | list, folder: Path) -> Iterator[Conversation]:
    for video, dimension, row in tempcompass_rows(content):
        question, options, letters = split_options(row["question"])
        answer = row["answer"].strip()
        letter = LISTED_OPTION.sub(r"\1", answer)  # "B. down" becomes "B"; other answers stay
        if letter in letters:
            answer = options[letters.index(letter)]
        # A question that lists nothing asks for yes or no.
        elif not options:
            options = ["yes", "no"]
            answer = answer.lower()
        yield question_row(folder / f"{video}.mp4", question, options, answer, dimension)


def tempcompass_rows(content: dict | list) -> Iterator[tuple[str, str, dict]]:
    """(video, dimension, row) for each question, from either form of the file."""
    if isinstance(content, list):
        yield from ((row["video_id"], row["dim"], row) for row in content)
        return
    for video, dimensions in content.items():
        for dimension, rows in dimensions.items():
            yield from ((video, dimension, row) for row in rows)


def mvp(content: list, folder: Path) -> Iterator[Conversation]:
    for row in content:
        options = row["candidates"]
        if isinstance(options, str):  # the published table holds the list as Python writes it
            options = ast.literal_eval(options)
        options = [str(option) for option in options]
        pair = row["video_id"].rpartition("_")[0]
        video = folder / row["video_path"].lstrip("/")  # published as if it were absolute
        yield question_row(video, row["question"], options, str(row["answer"]), row.get("source", ""), pair)


def temporalbench(content: list, folder: Path) -> Iterator[Conversation]:
    for row in content:
        question, options, letters = split_options(row["question"])
        letter = row["GT"].strip().upper()
        if letter not in letters:
            raise ManifestError(
                f"the answer is {letter!r}; expected one of the letters {letters} of {question!r}"
            )
        answer = options[letters.index(letter)]
        kind = str(row.get("category") or row.get("dataset") or "")
        video = row["video_name"]
        yield question_row(folder / video, question, options, answer, kind, pair=video)


def tomato(content: dict, folder: Path) -> Iterator[Conversation]:
    for row in content.values():
        video = folder / row["demonstration_type"] / f"{row['key']}.mp4"
        answer = option_at(row["options"], row["answer"])
        yield question_row(video, row["question"], row["options"], answer, row.get("motion_type", ""))


# Keyed by the functions' names, which are the values of --format.
READERS: dict[str, Callable[[dict | list, Path], Iterator[Conversation]]] = {
    reader.__name__: reader for reader in (perceptiontest, tempcompass, mvp, temporalbench, tomato)
}

"""A parser's complaint as one sentence, which names what was probably meant."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "str": "a text",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, if one is alike; `max_steps` is `trainer.max_steps`."""
    known = list(known)
    # The end of a dotted key comes first: whoever leaves out the front has the rest right.
    ends = [key for key in known if key.lstrip("-").rpartition(".")[2] == word.lstrip("-").replace("-", "_")]
    close = sorted(ends, key=len)[:1] or get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing if no known word is alike."""
    close = nearest(word, known)
    return f"; did you mean {close}?" if close else ""


def explain(message: str, keys: Sequence[str]) -> str:
    """The message of a parser that knows these keys, as one sentence.

    A key is an option without its `--`, which is also its place in a YAML file.
    """
    text = " ".join(message.split())
    for pattern, sentence in SENTENCES.items():
        if found := re.search(pattern, text):
            return sentence(found, keys)
    return text


def unknown_argument(found: re.Match, keys: Sequence[str]) -> str:
    option = found[1].partition("=")[0]
    if not option.startswith("-"):
        return f"{option!r} is one word too many; options begin with --"
    return f"there is no option {option}{did_you_mean(option, [f'--{key}' for key in keys])}"


def unknown_key(found: re.Match, keys: Sequence[str]) -> str:
    return f"there is no setting {found[1]}{did_you_mean(found[1], keys)}"


def unknown_inner_key(found: re.Match, keys: Sequence[str]) -> str:
    place, wrong = found.groups()
    known = [key.removeprefix(f"{place}.") for key in keys if key.startswith(f"{place}.")]
    return f"{place} has no setting {wrong}{did_you_mean(wrong, known)}"


def unknown_choice(found: re.Match, keys: Sequence[str]) -> str:
    key, listed, value = found.groups()
    choices = re.findall(r"[^', ]+", listed)
    return f"--{key} {value}: give one of {', '.join(choices)}{did_you_mean(value, choices)}"


def unknown_subcommand(found: re.Match, keys: Sequence[str]) -> str:
    word, listed = found.groups()
    choices = re.findall(r"[\w.-]+", listed)
    return f"there is no command {word!r}; give one of {', '.join(choices)}{did_you_mean(word, choices)}"


def unknown_class(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]}: there is no class {found[2]}; {found[2].rpartition('.')[0] or found[2]} lacks it"


def wrong_class(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]} {found[2]}: no class that fits has that name; give the path of one"


def missing_inside(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]}: a class in it needs {found[2]}"


def wrong_type(found: re.Match, keys: Sequence[str]) -> str:
    key, kind, value = found.groups()
    return f"--{key} {value}: {TYPES.get(kind, kind)} is expected"


def within(found: re.Match, keys: Sequence[str]) -> str:
    return f"there is no setting {found[1]}.{found[2]}"


def without_value(found: re.Match, keys: Sequence[str]) -> str:
    return f"{found[1]} needs a value"


def no_subcommand(found: re.Match, keys: Sequence[str]) -> str:
    return f"a command is missing; give one of {found[1].replace(',', ', ')}"


def missing(found: re.Match, keys: Sequence[str]) -> str:
    names = [name.strip().removeprefix("fit.") for name in found[1].split(",")]
    return f"missing: {', '.join(f'--{name}' if name in keys else name.upper() for name in names)}"


def wrong_count(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]} {found[3]}: {found[2]} values are expected"


def no_settings(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]} {found[2]}: a path, or settings with a path among them, is expected"


def missing_file(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]} {found[2]}: no such file"


def no_recipe(found: re.Match, keys: Sequence[str]) -> str:
    return (
        f"--config: a recipe is YAML of settings such as `data: {{batch_size: 8}}`; this is {found[1][:40]!r}"
    )


def no_file(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]} {found[2]} is no file"


def empty_value(found: re.Match, keys: Sequence[str]) -> str:
    return f"--{found[1]} is empty; give a value, or leave it out"


KEY = r'Parser key "([^"]+)"'
VALUE = r"(?:Got|Given) value: (\S+)"
SENTENCES = {
    rf"{KEY}.*there is no setting (.+?)(?: - .*)?$": within,
    r"unrecognized arguments: (\S+)": unknown_argument,
    r"does not accept option '([^']+)'": unknown_key,
    rf"{KEY}.*[Oo]ption \'([^\']+)\' is not accepted": unknown_inner_key,
    r"[Oo]ption '([^']+)' is not accepted": unknown_key,
    rf"{KEY}.*?Expected a typing\.Literal\[([^\]]+)\].*{VALUE}": unknown_choice,
    r"invalid choice: '([^']+)' \(choose from ([^)]+)\)": unknown_subcommand,
    rf"{KEY}.*(?:no attribute|Import of|No module).*Given value: (\S+)": unknown_class,
    rf"{KEY}.*(?:File|Path) does not exist: \'([^\']+)\'": missing_file,
    rf"{KEY}.*(?:dot import path|Import path does not).*{VALUE}": wrong_class,
    rf"{KEY}.*- missing: --(\S+)": missing_inside,
    rf"{KEY}.*?Expected a <class '(\w+)'>.*{VALUE}": wrong_type,
    rf"{KEY}.*Expected a tuple with (\d+) elements\. Got value: \[(.*)\]": wrong_count,
    rf"{KEY}.*Not a valid subclass of .*?{VALUE}": no_settings,
    rf"{KEY}.*Path is not a file: \'([^\']+)\'": no_file,
    rf"{KEY}.*Got value:\s*$": empty_value,
    r"Unexpected config: (.*)$": no_recipe,
    r"argument (\S+): expected .*argument": without_value,
    r'expected "subcommand" to be one of \{([^}]+)\}': no_subcommand,
    r"the following arguments are required: (.+)$": missing,
}
"""What parsers say -> what we say. The first that fits counts."""

"""Texts of YAML that may come from anyone: one that would fill the memory is refused before it is loaded.

    settings = load_yaml(path.read_text())      # raises yaml.YAMLError

A text of a kilobyte can stand for more than any memory holds: by references to references, and by values
within values, which also overflow the stack of the C library. Recipes have a handful of levels.

A key that stands twice is refused, since one of its values would win unseen. A time such as 10:20:30 stays a
text, as in YAML 1.2: the loaders know 1.1, in which it is a number of base 60.
"""

import re
from collections.abc import Callable, Iterator
from itertools import chain

import yaml

MOST_LETTERS = 2_000_000
"""Letters of a text."""
DEEPEST = 100
"""Values within values."""
MOST_DIGITS = 1000
"""Letters of a number. Python takes seconds for a hundred thousand."""
MOST_VALUES = 100_000
"""Values of a text, where one that is referred to counts each time."""

IN_LINE = re.compile(rf"(?:[-?:]\s+){{{DEEPEST}}}")
"""Lists of lists in one line: `- - - a`."""
NUMBER = re.compile(r"[-+0-9a-fox_:.]+")
NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
MERGE_TAG = "tag:yaml.org,2002:merge"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str) -> object:
    """The value of a text. Raises yaml.YAMLError, also for tags and numbers that mean nothing."""
    return checked(lambda text: yaml.load(text, LOADER))(text)


def check_all_yaml() -> None:
    """Let jsonargparse, too, load nothing that is not checked."""
    from jsonargparse import get_loader, set_loader  # not for help pages, which read recipes too

    set_loader("yaml", checked(get_loader("yaml")), exceptions=(yaml.YAMLError,))


def checked(load: Callable[[str], object]) -> Callable[[str], object]:
    """The loader, which refuses what would fill the memory, and raises nothing but yaml.YAMLError."""

    def load_checked(text: str) -> object:
        check_text(text)
        try:
            return load(with_plain_times(text))
        except yaml.YAMLError:
            raise
        except Exception as error:  # the constructors of YAML's types raise errors of many kinds
            words = " ".join(str(error).split())[:200]
            raise yaml.YAMLError(f"a value that YAML cannot read ({words})") from error

    return load_checked


def check_text(text: str) -> None:
    """Raise yaml.YAMLError for a text that would take more memory or time than any recipe needs."""
    if len(text) > MOST_LETTERS:
        raise yaml.YAMLError(f"{len(text):,} letters, and a recipe has at most {MOST_LETTERS:,}")
    # First by the letters, because the parser itself takes minutes for a hundred thousand levels.
    if any(depth > DEEPEST for depth in levels(text)) or IN_LINE.search(text):
        raise yaml.YAMLError(f"values within values, more than {DEEPEST} levels deep")
    if not is_word(text):
        check_size(yaml.parse(text, LOADER))


def is_word(text: str) -> bool:
    """Whether the text is a plain word, as most values of a command line are."""
    return text.isascii() and text.replace("_", "").replace("-", "").isalnum()


def levels(text: str) -> Iterator[int]:
    """How many brackets are open after each bracket of the text."""
    depth = 0
    for bracket in re.finditer(r"[][{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        yield depth


def check_size(events: Iterator[yaml.Event]) -> None:
    """Raise yaml.YAMLError for too many levels or values, references followed. Loads nothing."""
    sizes: dict[str, int] = {}  # of each value that can be referred to
    opened: list[tuple[str | None, int]] = []  # its name, and how many values came before it
    total = 0
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {anchor: total - before} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MOST_DIGITS and NUMBER.fullmatch(event.value):
                raise yaml.YAMLError(f"a number of more than {MOST_DIGITS} digits")
            total += 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise yaml.YAMLError(f"*{event.anchor} lies within the value that it refers to")
            total += sizes.get(event.anchor, 1)
        if len(opened) > DEEPEST or total > MOST_VALUES:
            raise yaml.YAMLError(f"more than {DEEPEST} levels or {MOST_VALUES:,} values, references followed")


def with_plain_times(text: str) -> str:
    """The text with quotes around times. Raises yaml.YAMLError for a key that stands twice."""
    text = text.removeprefix("\ufeff")  # which counts in no place
    pieces = []
    done = 0
    for last, time in sorted(times_in(text)):
        first = last - len(time)
        if text[first:last] == time:
            pieces += [text[done:first], f'"{time}"']
            done = last
    return "".join([*pieces, text[done:]])


def times_in(text: str) -> Iterator[tuple[int, str]]:
    """(end, time) of each number of base 60. Raises yaml.YAMLError for a key that stands twice."""
    root = None if is_word(text) else yaml.compose(text, LOADER)
    for node in nodes_below(root):
        if isinstance(node, yaml.MappingNode):
            check_keys(node)
        elif node.tag in NUMBER_TAGS and ":" in node.value and not node.style:
            yield node.end_mark.index, node.value


def nodes_below(root: yaml.Node | None) -> Iterator[yaml.Node]:
    """All values of a text, each once however often it is referred to."""
    waiting = [root] if root else []
    seen = set()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            yield node
            if isinstance(node, yaml.CollectionNode):
                waiting += chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value


def check_keys(node: yaml.MappingNode) -> None:
    """Raise yaml.YAMLError for a key that stands twice. One that is merged may be given anew."""
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE_TAG:
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            place = f"stands in line {lines[key.value]} already"
            raise yaml.YAMLError(f"line {line}: the key {key.value[:80]!r} {place}; remove one of them")
        lines[key.value] = line

"""Any source of weights, opened: its family is known before a tensor is touched.

    found = read_source("vitl.pt")
    found.family, found.path

A source that no network here can take raises CheckpointError, which names its family and says what to do.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa.errors import announce
from vjepa.weights.export import read_description
from vjepa.weights.family import REMEDIES, Family, family_of
from vjepa.weights.file_kind import check_kind
from vjepa.weights.files import MOST_PROBLEMS, CheckpointError, check_exists
from vjepa.weights.huggingface import read_hf_config
from vjepa.weights.own_facts import OWN, checked_facts, without_other_clips
from vjepa.weights.pickles import read_pickle

GIVEN = "v-jepa-2"
"""What `family=` may be, where a file does not say whether it is V-JEPA 1 or 2."""
IN_NAME = re.compile(r"v-?jepa-?2(?![-_.]?1(?!\d))", re.IGNORECASE)
"""The same in a file's name, or in that of a link to it, for command lines and recipes."""


@dataclass(frozen=True)
class Opened:
    """A source of weights whose family is known."""

    path: Path
    family: Family
    content: dict[Any, Any]
    """An export's description, the content of config.json, or what torch loads from the file."""


def read_source(source: str | Path, family: str | None = None) -> Opened:
    """The family of a source and what it says of itself.

    family: `v-jepa-2` for a file that could be V-JEPA 1's too. Without it, such a file is V1_OR_V2.

    Raises CheckpointError if the source does not exist, or holds weights of a family that is not read here.
    """
    if family not in (None, GIVEN):
        raise CheckpointError(
            f"{source}: family={family!r} is not known; give family={GIVEN!r} or leave it out"
        )
    path = check_exists(source)
    if path.is_dir():
        config = with_facts(path, read_hf_config(path))
        return Opened(path, Family.HUGGING_FACE, config)
    if check_kind(path) == "safetensors":
        return Opened(path, Family.EXPORT, read_description(path))
    kept = {key: value for key, value in read_pickle(path).items() if is_kept(value)}
    checkpoint = with_facts(path, kept)
    found = family_of(checkpoint, path.name)
    if found in (Family.V1, Family.V1_OR_V2) and (family or IN_NAME.search(path.name)):
        announce(f"{path} is read as V-JEPA 2, as its name or family= says; its pos_embed is not used")
        found = Family.V2
    if found in REMEDIES:
        names = f" but {first_names(checkpoint)}" if found is Family.UNKNOWN and checkpoint else ""
        raise CheckpointError(f"{path} holds {found}{names}; {REMEDIES[found]}")
    return Opened(path, found, checkpoint)


def is_kept(value: Any) -> bool:
    """Whether there is a value: some trainers write None, or an empty list, for what they do not keep."""
    return not (value is None or (isinstance(value, list | tuple) and not value))


def with_facts(path: Path, content: dict[Any, Any]) -> dict[Any, Any]:
    """A foreign layout's content, in which our facts are checked, if there are any.

    Raises CheckpointError if they are damaged.
    """
    if OWN not in content:
        return content
    facts = checked_facts(path, content[OWN])
    # Where there are no clips, as in files of torch, none contradict.
    return content | {OWN: without_other_clips(facts, content)}


def how_to_say(path: Path) -> str:
    """How a user says which of two families a file is, in Python and everywhere else."""
    return (
        "both have such tensors, and the file does not say which it is; "
        f"if it is V-JEPA 2, pass family={GIVEN!r} in Python, or give a link to it whose name says so "
        f"(ln -s {path.name} vjepa2-{path.name})"
    )


def first_names(content: dict[Any, Any]) -> str:
    """What a file holds, in short."""
    more = ", ..." if len(content) > MOST_PROBLEMS else ""
    return ", ".join(map(str, list(content)[:MOST_PROBLEMS])) + more


def is_export(source: str | Path) -> bool:
    """Whether a source is an export of ours. Raises CheckpointError as `read_source`."""
    return read_source(source).family is Family.EXPORT

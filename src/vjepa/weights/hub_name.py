"""Names of models on Hugging Face's hub: what looks like one, and is no path.

    hub_name("facebook/vjepa2-vitl-fpc64-256")             # its newest revision
    hub_name("facebook/vjepa2-vitl-fpc64-256@refs/pr/1")   # a branch, a tag or a commit
    hub_name("hf://facebook/vjepa2-vitl-fpc64-256")        # never a path

A path that exists is never a name. One below a folder that exists, or with the ending of a file of weights,
is a path that was mistyped, and nobody else is asked about it.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple

NEWEST = "main"
"""The branch that holds a model's newest revision."""
WORD = r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?"
PATTERN = re.compile(rf"(hf:/+)?({WORD}/{WORD})(?:@([A-Za-z0-9][\w./-]*))?", re.ASCII)
FILE = re.compile(r"\.(pt|pth|tar|bin|ckpt|safetensors|onnx|pt2|npz|h5)$", re.IGNORECASE)
"""Endings of files of weights."""


class HubName(NamedTuple):
    """A model on the hub."""

    repo: str
    """`owner/name`."""
    revision: str
    """A branch, a tag or a commit."""

    def __str__(self) -> str:
        return self.repo if self.revision == NEWEST else f"{self.repo}@{self.revision}"


def hub_name(source: str | Path) -> HubName | None:
    """The model that a source names; None for a path, whether or not there is a file."""
    match = PATTERN.fullmatch(str(source))  # a Path has made one slash of two
    if match is None or os.path.exists(os.path.expanduser(source)):
        return None
    address, repo, revision = match.groups()
    is_path = Path(repo).parent.is_dir() or FILE.search(repo)
    return None if is_path and not address else HubName(repo, revision or NEWEST)

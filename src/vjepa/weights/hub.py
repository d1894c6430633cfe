"""Models on Hugging Face's hub, fetched into its cache by the package huggingface_hub.

    fetched(HubName("facebook/vjepa2-vitl-fpc64-256", "main"))     # a folder of the cache

Only config.json and the files of tensors are fetched, the latter once the config says that they are of
V-JEPA 2. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to that package. Where the hub
does not answer, a whole copy in the cache is taken.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import huggingface_hub as package
from huggingface_hub import constants, errors

from vjepa.errors import announce, counted
from vjepa.weights.files import MOST_PROBLEMS, CheckpointError
from vjepa.weights.hub_name import HubName
from vjepa.weights.huggingface import hf_files, index_names, read_hf_config

CONFIG = "config.json"
TENSORS = ("model.safetensors", "pytorch_model.bin")
"""Files of tensors by their usual names, the better kind first."""
INDEX = ".index.json"
"""What is added to these names for the list of several files."""
ENDINGS = (".safetensors", ".pt", ".pth", ".pth.tar", ".bin")
"""Endings of the one file of a model without a config, such as an export or a file of Meta's."""
SECONDS = 10
"""How long the hub may take to answer."""


class Listing(NamedTuple):
    """A model at one commit, as the hub lists it."""

    name: HubName
    commit: str
    sizes: dict[str, int]
    """Its files -> their bytes, 0 if unknown."""


@cache
def fetched(name: HubName) -> Path:
    """The folder, or the one file, of a model: the same until the program ends, whatever the hub holds then.

    Raises CheckpointError if there is no such model, it is not given to everybody, or is another network's;
    and if the hub cannot be reached, or the download is cut off, and the cache holds no whole copy.
    """
    try:
        listing = listed(name)
    except CheckpointError as error:
        kept = kept_copy(name)
        if kept is None:
            raise
        if not constants.HF_HUB_OFFLINE:
            announce(f"{str(error).partition(';')[0]}; its copy in the cache is taken, {kept}")
        return kept
    return download(listing)


def listed(name: HubName) -> Listing:
    """The commit of a model's revision and its files. Raises CheckpointError as `fetched`."""
    with hub_errors(name, "is no path here, and the hub cannot be asked for it"):
        known = package.HfApi().model_info(
            name.repo, revision=name.revision, timeout=SECONDS, files_metadata=True
        )
    sizes = {file.rfilename: file.size or 0 for file in known.siblings or ()}
    return Listing(name, str(known.sha), sizes)


def kept_copy(name: HubName) -> Path | None:
    """A model's folder, or its one file, in the cache; None unless all that is needed of it is there."""
    try:
        # Without patterns the package would ask for files that are not needed too.
        folder = Path(
            package.snapshot_download(
                name.repo, revision=name.revision, local_files_only=True, allow_patterns=[]
            )
        )
        if not (folder / CONFIG).is_file():
            return folder / only_file(name, [path.name for path in folder.iterdir()])
        hf_files(folder)
    except (errors.LocalEntryNotFoundError, CheckpointError):
        return None
    return folder


def download(listing: Listing) -> Path:
    """The model's folder, or its one file, in the cache, with all that is needed. Raises as `fetched`."""
    if CONFIG not in listing.sizes:
        first = only_file(listing.name, listing.sizes)
        files = [first]
    else:
        first = CONFIG
        read_hf_config(fetch(listing, CONFIG).parent)  # before gigabytes of another model are fetched
        files = tensor_files(listing)
    announce_download(listing, files)
    paths = [fetch(listing, file) for file in files]
    keep_revision(listing, first)
    return paths[0].parent if first == CONFIG else paths[0]


def only_file(name: HubName, files: Collection[str]) -> str:
    """The one file of weights of a model without a config. Raises CheckpointError for none or several."""
    found = sorted(file for file in files if file.endswith(ENDINGS) and "/" not in file)
    if not found:
        raise CheckpointError(
            f"{name} on Hugging Face's hub has no {CONFIG} and no file of weights; give another model"
        )
    if len(found) > 1:
        held = f"{len(found)} files of weights ({', '.join(found[:MOST_PROBLEMS])})"
        raise CheckpointError(
            f"{name} on Hugging Face's hub has no {CONFIG}, and {held}; fetch the file that you want "
            f"(hf download {name.repo} FILE --local-dir .) and give it"
        )
    return found[0]


def tensor_files(listing: Listing) -> list[str]:
    """The files of a model's tensors. Raises CheckpointError if there are none, as in other formats."""
    for whole in TENSORS:
        if whole in listing.sizes:
            return [whole]
        if f"{whole}{INDEX}" in listing.sizes:
            return sorted(index_names(fetch(listing, f"{whole}{INDEX}"), listing.sizes))
    raise CheckpointError(
        f"{listing.name} on Hugging Face's hub has neither {' nor '.join(TENSORS)}; give another model"
    )


def announce_download(listing: Listing, files: list[str]) -> None:
    """One line on stderr about files that are fetched now, and nothing about those in the cache."""
    new = [file for file in files if not in_cache(listing, file)]
    if new:
        size = sum(listing.sizes[file] for file in new) / 1e6
        announce(
            f"{listing.name} is downloaded from {constants.ENDPOINT}, commit {listing.commit[:12]}: "
            f"{counted(len(new), 'file')} of tensors, {size:,.1f} MB, into {constants.HF_HUB_CACHE}"
        )


def in_cache(listing: Listing, file: str) -> bool:
    """Whether the cache holds a file of this commit."""
    found = package.try_to_load_from_cache(listing.name.repo, file, revision=listing.commit)
    return isinstance(found, str)


def fetch(listing: Listing, file: str) -> Path:
    """The file in the cache, downloaded if it is not there. A file that is cut off is not kept."""
    with hub_errors(listing.name, f"cannot be downloaded: {file} is missing or was cut off"):
        return Path(package.hf_hub_download(listing.name.repo, file, revision=listing.commit))


def keep_revision(listing: Listing, file: str) -> None:
    """Let the cache know which commit the revision is: last, so that it leads to whole copies alone."""
    name = listing.name
    known = package.try_to_load_from_cache(name.repo, file, revision=name.revision)
    if not isinstance(known, str) or listing.commit not in Path(known).parts:
        with hub_errors(name, "cannot be asked for its revision"):
            package.hf_hub_download(name.repo, file, revision=name.revision)


@contextmanager
def hub_errors(name: HubName, what: str) -> Iterator[None]:
    """Raise whatever goes wrong with the hub inside as one sentence. what: The words for a lost network."""
    try:
        yield
    except errors.GatedRepoError as error:
        reason = f"is not given to everybody; ask for it at {constants.ENDPOINT}/{name.repo}, then log in "
        raise CheckpointError(f"{name} {reason}(hf auth login)") from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(f"{name.repo} on the hub has no revision {name.revision}") from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"{name} is neither a path here nor a model on {constants.ENDPOINT} that you may read; "
            "mind the spelling, or log in for a private one (hf auth login)"
        ) from error
    except Exception as error:  # the package lets those of its HTTP library through
        raise CheckpointError(
            f"{name} {what} ({reason_of(error)}); fetch it where {constants.ENDPOINT} can be reached "
            f"(hf download {name.repo} --local-dir {name.repo.partition('/')[2]}) and give that folder"
        ) from error


def reason_of(error: Exception) -> str:
    """Why the hub did not give something, in a few words."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0][:120]}"

"""A folder of a language model, looked through before transformers builds a network or asks for code.

    check_model_folder(Path("runs/demo/language"))
    check_is_here("Qwen/Qwen2-0.5B", "runs/demo/adapter")

transformers builds whatever size config.json names, and fills what the files lack with random numbers.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vjepa.errors import UserError, damage_in_words, is_out_of_memory, require
from vjepa.weights.files import State
from vjepa.weights.huggingface import hf_files, read_json, read_tensors

ADAPTER = "adapter_config.json"
"""The file that marks a folder as an adapter of peft."""
COUNT = re.compile(r"(num|n)_((hidden|decoder|encoder|local|routed)_)?(layers?|experts)")
"""Settings that say how many parts a network has, each with tensors of its own."""


def check_model_folder(folder: Path) -> None:
    """Raise UserError for files that cannot be read, and for settings that the tensors contradict.

    The files of pickled tensors are read too, as all such files here: without running code.
    """
    given = read_json(folder / "config.json")
    require(isinstance(given, dict), f"{folder}/config.json holds no settings; download it again")
    tensors = {key: value for file in hf_files(folder) for key, value in read_tensors(file).items()}
    for name, count in counts_of(given):
        # Even a network without numbers takes minutes to build if it has 200,000 layers.
        require(
            isinstance(count, int) and count <= len(tensors),
            f"{folder}/config.json says {name} {repr(count)[:80]}, but there are {len(tensors)} tensors; "
            "download the folder again",
        )
    most = 2 * numbers_in(tensors)  # twice, because one tensor may stand for two that are tied
    expected = size_of(network_without_numbers(folder))
    require(
        expected <= most,
        f"{folder}/config.json describes a network of {expected:,} numbers, but the files hold "
        f"{most // 2:,}; download the folder again",
    )


def check_adapter_folder(folder: Path, ranks: Iterable[object]) -> None:
    """Raise UserError if the files of an adapter cannot be read, or hold no changes of one of these ranks."""
    files = [*folder.glob("adapter_model.safetensors"), *folder.glob("adapter_model.bin")]
    require(bool(files), f"{folder} holds an {ADAPTER} but no adapter_model.safetensors; copy it too")
    sides = {side for value in read_tensors(files[0]).values() for side in value.shape}
    for rank in ranks:
        known = (
            f"{folder}/{ADAPTER} says rank {repr(rank)[:80]}, and no tensor has as many rows; copy it again"
        )
        require(rank in sides, known)


def check_is_here(source: str, named_by: str | Path) -> None:
    """Raise UserError unless a model that a file names is on this machine: only a user starts a download."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return
    known = re.fullmatch(r"[\w.-]+/[\w.-]+", source) and try_to_load_from_cache(source, "config.json")
    require(
        isinstance(known, str),
        f"{named_by} names the language model {source[:200]}, which is not on this machine; "
        "put it there, or download it first",
    )


def counts_of(settings: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings that are counts of parts, also those of a network within the network."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from counts_of(value)
        elif COUNT.fullmatch(name) and value is not None:
            yield name, value


def numbers_in(tensors: State) -> int:
    """Numbers in tensors: two for each byte of quantised ones, which may stand for as many."""
    return sum(value.numel() if value.is_floating_point() else 2 * value.nbytes for value in tensors.values())


def network_without_numbers(folder: Path) -> nn.Module:
    """The network that config.json describes, on torch's `meta` device."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def size_of(network: nn.Module) -> int:
    """Numbers in all parameters and buffers."""
    return sum(value.numel() for value in (*network.parameters(), *network.buffers()))


@contextmanager
def loading_errors(source: str, kind: str) -> Iterator[None]:
    """Turn the errors of transformers and peft for missing, damaged or unfit files into one UserError."""
    try:
        yield
    except Exception as error:  # of any kind, as of all readers of what others wrote
        if is_out_of_memory(error):
            raise
        reason = reason_of(error)
        raise UserError(f"language.source={source} cannot be loaded as {kind}: {reason}") from error


def reason_of(error: Exception) -> str:
    """What was wrong, in a line: transformers may add a page of advice, such as to run a model's code."""
    if isinstance(error, UserError):
        return str(error)
    if "trust_remote_code" in str(error):
        return "it brings Python code of its own, which is never run; give a model that transformers knows"
    known = isinstance(error, OSError | ValueError | RuntimeError) and str(error).strip()
    return str(error).strip().splitlines()[0][:300] if known else damage_in_words(error)

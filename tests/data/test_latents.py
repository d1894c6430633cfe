"""The latent cache gives the bits that encoding gives, is bounded, and survives being killed."""

import os
import time
from pathlib import Path

import pytest
import torch
from einops import rearrange
from safetensors.torch import save_file

from vjepa.data.latents import LatentCache, encode_in_fixed_batches, latent_key
from vjepa.data.transforms import normalise
from vjepa.errors import UserError
from vjepa.models.encoder import Encoder, EncoderConfig

ENCODER = Encoder(EncoderConfig(width=48, depth=2, heads=4, mlp_width=96, patch=8)).eval()
EPISODES = [torch.randint(0, 256, (t, 3, 32, 32), dtype=torch.uint8) for t in (9, 4, 13)]
WEIGHTS = {"a": torch.ones(3)}


@torch.no_grad()
def encode(frames: torch.Tensor) -> torch.Tensor:
    """Each frame alone, doubled to one tubelet."""
    return ENCODER(normalise(torch.stack([frames, frames], 1)))


def tokens(episode: int, batch: int = 4) -> torch.Tensor:
    return encode_in_fixed_batches(EPISODES[episode], encode, batch)


def cache(
    folder: Path, limit: int = 10**9, dtype: torch.dtype = torch.float32, key: str = "key"
) -> LatentCache:
    return LatentCache(folder, key, limit, dtype)


def never() -> torch.Tensor:
    raise AssertionError("it is in the cache already")


def test_the_cache_gives_the_bits_that_encoding_gives(tmp_path):
    first = {e: cache(tmp_path).load(f"{e}", lambda e=e: tokens(e)) for e in (2, 0, 1)}
    again = cache(tmp_path)
    for e in range(3):
        assert torch.equal(again.load(f"{e}", never), tokens(e)) and torch.equal(first[e], tokens(e))
    assert (again.hits, again.misses) == (3, 0)


def test_encoding_does_not_depend_on_what_was_encoded_before():
    forwards = [tokens(e) for e in (0, 1, 2)]
    backwards = [tokens(e) for e in (2, 1, 0)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_a_frame_alone_in_its_batch_has_the_same_bits_anywhere():
    frames = EPISODES[0]
    mixed = torch.tensor([5, 2, 8, 0])
    tokens_of_all = encode_in_fixed_batches(frames, encode, 1)
    assert torch.equal(encode_in_fixed_batches(frames[mixed], encode, 1), tokens_of_all[mixed])


def test_every_batch_has_the_same_size_and_nothing_is_lost():
    sizes = []

    def count(frames: torch.Tensor) -> torch.Tensor:
        sizes.append(len(frames))
        return rearrange(frames.float(), "t c h w -> t (h w) c")

    out = encode_in_fixed_batches(EPISODES[0], count, 4)
    assert sizes == [4, 4, 4] and torch.equal(out, rearrange(EPISODES[0].float(), "t c h w -> t (h w) c"))


def test_rows_can_be_read_alone(tmp_path):
    rows = [3, 7, 3, 5]
    made = cache(tmp_path).load("a", lambda: tokens(0), rows)
    read = cache(tmp_path).load("a", never, rows)
    assert torch.equal(made, tokens(0)[rows]) and torch.equal(read, made)


def test_half_precision_rounds_the_first_time_too(tmp_path):
    half = cache(tmp_path, dtype=torch.float16)
    made = half.load("a", lambda: tokens(0))
    read = half.load("a", never)
    assert torch.equal(made, read) and made.dtype == torch.float32
    assert torch.equal(made, tokens(0).half().float()) and not torch.equal(made, tokens(0))
    # Tensors of float32 have a folder of their own.
    assert cache(tmp_path).load("a", lambda: tokens(0)).equal(tokens(0))


def test_a_full_cache_keeps_what_it_has_and_makes_the_rest(tmp_path):
    size = cache(tmp_path / "other")
    size.load("a", lambda: tokens(1))
    small = cache(tmp_path / "small", limit=size.bytes + 100)
    small.load("a", lambda: tokens(1))
    with pytest.warns(UserWarning, match="bytes are full"):
        small.load("b", lambda: tokens(1))
    assert torch.equal(small.load("b", lambda: tokens(1)), tokens(1))
    assert torch.equal(small.load("a", never), tokens(1))
    assert small.misses == 3 and small.bytes <= small.limit
    assert sorted(path.name for path in small.folder.iterdir()) == ["a.safetensors"]


def test_the_bound_is_for_all_keys_together(tmp_path):
    old = cache(tmp_path, key="old")
    old.load("a", lambda: tokens(2))
    new = cache(tmp_path, limit=old.bytes + 10, key="new")
    with pytest.warns(UserWarning, match="bytes are full"):
        new.load("a", lambda: tokens(2))
    assert list(new.folder.iterdir()) == [] and torch.equal(old.load("a", never), tokens(2))


def test_an_interruption_leaves_nothing_that_could_be_read(tmp_path, monkeypatch):
    kept = cache(tmp_path)

    def killed(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.load("a", lambda: tokens(0))
    assert list(kept.folder.iterdir()) == []
    assert torch.equal(kept.load("a", lambda: tokens(0)), tokens(0))
    assert torch.equal(kept.load("a", never), tokens(0))


def test_a_damaged_file_is_made_anew_and_old_leftovers_are_removed(tmp_path):
    kept = cache(tmp_path)
    kept.load("a", lambda: tokens(0))
    file = kept.folder / "a.safetensors"
    save_file({"tokens": torch.zeros(1, 2, 3)}, few := tmp_path / "few")
    assert torch.equal(kept.load("b", lambda: tokens(0), [3]), tokens(0)[[3]])
    (kept.folder / "b.safetensors").write_bytes(few.read_bytes())
    assert torch.equal(kept.load("b", lambda: tokens(0), [3]), tokens(0)[[3]])
    (kept.folder / "b.safetensors").unlink()
    for damage in (file.read_bytes()[:-50], b""):
        file.write_bytes(damage)
        assert torch.equal(kept.load("a", lambda: tokens(0)), tokens(0))
        assert torch.equal(kept.load("a", never), tokens(0))
    for name, age in ((".b.safetensors.1", 7200), (".c.safetensors.2", 60)):
        (kept.folder / name).write_bytes(b"half")
        os.utime(kept.folder / name, (time.time() - age,) * 2)
    assert {path.name for path in cache(tmp_path).folder.iterdir()} == {"a.safetensors", ".c.safetensors.2"}


def test_a_key_depends_on_all_that_decides_the_bits():
    key = latent_key(WEIGHTS, "data", {"size": 64}, "cpu")
    assert key == latent_key({"a": torch.ones(3)}, "data", {"size": 64}, torch.device("cpu"))
    others = [
        latent_key({"a": torch.tensor([1.0, 1.0, 1.0000001])}, "data", {"size": 64}, "cpu"),
        latent_key({"b": torch.ones(3)}, "data", {"size": 64}, "cpu"),
        latent_key({"a": torch.ones(3).bfloat16()}, "data", {"size": 64}, "cpu"),
        latent_key(WEIGHTS, "other", {"size": 64}, "cpu"),
        latent_key(WEIGHTS, "data", {"size": 32}, "cpu"),
        latent_key(WEIGHTS, "data", {"size": 64}, "cuda:1"),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        others.append(latent_key(WEIGHTS, "data", {"size": 64}, "cpu"))
    assert len({key, *others}) == 8


def test_a_cache_that_cannot_be_a_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be a folder: Not a directory; name another"):
        cache(tmp_path / "file")

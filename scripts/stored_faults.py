"""Faults of an object storage, for `scripts/torture.py`: a real one on this machine answers late or wrongly.

Runs read their clips from shards in it. The storage counts as one that is far away: nothing is kept on disk.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from scripts.faults import Row, lost, wait_for
from scripts.forked import start
from scripts.object_store import Fault, ObjectStore, cuts_off, says
from scripts.small_runs import Runs
from vjepa.errors import require

SHARDS = "s3://clips/shards"
FROM_SHARDS = (
    *("--data.train", f"[{{manifest: {SHARDS}/index.parquet}}]", "--data.storage.cache_gb", "0"),
    *("--data.max_bad_share", "0.5"),
)
EVERY = 4
"""One request of so many is answered with an error."""


def stored(runs: Runs) -> Iterator[Row]:
    """Train from shards in a storage that is busy, then in one that has lost a shard, or cut it off."""
    with packed(runs) as store:
        yield busy(runs, store)
        for fault, answer in {
            "a shard vanishes from object storage": says("404 Not Found", "NoSuchKey", path="000001.tar"),
            "a shard in object storage is cut off": cuts_off(store, path="000001.tar"),
        }.items():
            yield damaged(runs, store, fault, answer)


@contextmanager
def packed(runs: Runs) -> Iterator[ObjectStore]:
    """An object store that holds the training clips as shards."""
    store = ObjectStore()
    os.environ |= {"AWS_ENDPOINT_URL": store.url, "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    try:
        urlopen(Request(f"{store.url}/clips", method="PUT")).close()  # the bucket
        log = runs.folder / "runs" / "shards.txt"
        words = ["vjepa", "data", "shards", "data/demo/train.csv", "--out", SHARDS, "--size", "200000"]
        require(start(words, runs.folder, log).wait() == 0, f"{log} says why nothing was packed")
        yield store
    finally:
        store.stop()


def busy(runs: Runs, store: ObjectStore) -> Row:
    """Answer one request in four with an error; it must be asked again, and no clip be lost."""
    runs.reference("pretrain")
    errors: list[str] = []
    refuse = says("503 Slow Down", "SlowDown")

    def fault(request: dict, begin: Callable) -> Iterable[bytes] | None:
        if len(store.requests) % EVERY:
            return None
        errors.append(request["PATH_INFO"])
        return refuse(request, begin)

    run = runs.fresh("pretrain", "storage-busy")
    with store.faulty(fault):
        runs.finish("pretrain", run, *FROM_SHARDS)
    return Row(
        "object storage too busy", len(errors), "tried again", lost([runs.difference("pretrain", run)])
    )


def damaged(runs: Runs, store: ObjectStore, fault: str, answer: Fault) -> Row:
    """Let a shard be gone or cut off in the middle of a run, which must replace and name its clips."""
    run = runs.fresh("pretrain", fault.replace(" ", "-"))
    out = runs.out("pretrain", run)
    started = runs.start("pretrain", run, *FROM_SHARDS)
    wait_for(started, out / "checkpoints" / "step=3.ckpt")
    with store.faulty(answer):
        status = started.wait()
    require(status == 0, f"{run}: status {status}; {started.log} holds what it printed")
    named = [line for line in (out / "bad_files.txt").read_text().splitlines() if "000001.tar" in line]
    require(bool(named), f"{run}: bad_files.txt does not name the shard")
    return Row(fault, 1, f"{len(named)} clips met, replaced and named", "the clips of that shard")

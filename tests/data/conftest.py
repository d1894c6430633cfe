"""An object store on this machine, one for all tests, with an empty bucket for each."""

import fsspec
import pytest

from vjepa.data import storage


@pytest.fixture(scope="session")
def store():
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    from scripts.object_store import ObjectStore

    store = ObjectStore()
    yield store
    store.stop()


@pytest.fixture
def bucket(store, monkeypatch, tmp_path):
    """A file system of the empty bucket `clips`; requests are tried again at once."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": store.url,
        "XDG_CACHE_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "FIRST_WAIT", 0.01)
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    if fs.exists("clips"):
        fs.rm("clips", recursive=True)
    fs.mkdir("clips")
    store.requests.clear()
    return fs

"""A real object store on this machine: moto's S3 server, which can be told to answer wrongly."""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from threading import Thread

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Fault = Callable[[dict, Callable], Iterable[bytes] | None]
"""Answers a request in place of the store, or returns None to leave it to the store."""


class ObjectStore:
    """The server. `fault` sees every request first; `requests` counts those that it saw."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.store = DomainDispatcherApplication(create_backend_app)
        self.fault: Fault | None = None
        self.requests: list[str] = []
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: dict, start: Callable) -> Iterable[bytes]:
        self.requests.append(f"{request['REQUEST_METHOD']} {request['PATH_INFO']}")
        answer = self.fault(request, start) if self.fault else None
        return self.store(request, start) if answer is None else answer

    @contextmanager
    def faulty(self, fault: Fault):
        self.fault = fault
        try:
            yield
        finally:
            self.fault = None

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def says(status: str, code: str = "", times: int = 1_000_000, path: str = "") -> Fault:
    """Answers so many requests with an error, as S3 does."""
    left = [times]

    def fault(request: dict, start: Callable) -> Iterable[bytes] | None:
        if path not in request["PATH_INFO"] or left[0] <= 0:
            return None
        left[0] -= 1
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [b"" if request["REQUEST_METHOD"] == "HEAD" else body]

    return fault


def waits(seconds: float, path: str = "") -> Fault:
    """Answers late."""

    def fault(request: dict, start: Callable) -> None:
        if path in request["PATH_INFO"]:
            time.sleep(seconds)

    return fault


def cuts_off(store: ObjectStore, path: str = "") -> Fault:
    """Promises the whole file and sends half of it."""

    def fault(request: dict, start: Callable) -> Iterable[bytes] | None:
        if path not in request["PATH_INFO"] or request["REQUEST_METHOD"] != "GET":
            return None
        body = b"".join(store.store(request, start))
        return [body[: len(body) // 2]]

    return fault

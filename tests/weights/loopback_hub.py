"""A hub on this machine, for tests: the few answers that the package huggingface_hub asks for.

with LoopbackHub({"own/model": {"main": "0" * 40}}, {"own/model": {"config.json": b"{}"}}) as hub: ...
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "89abcdef0123456789abcdef0123456789abcdef"


class LoopbackHub:
    """Serves models while the block runs.

    models     repo -> commit -> file -> bytes
    revisions  repo -> branch -> commit
    refused    repo -> status and error code of every answer
    cut        files of which half is sent
    asked      (method, path) of every request
    """

    def __init__(self) -> None:
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        self.revisions: dict[str, dict[str, str]] = {}
        self.refused: dict[str, tuple[int, str]] = {}
        self.cut: set[str] = set()
        self.asked: list[tuple[str, str]] = []

    def add(self, repo: str, files: dict[str, bytes], commit: str = COMMIT, branch: str = "main") -> None:
        self.models.setdefault(repo, {})[commit] = files
        self.revisions.setdefault(repo, {})[branch] = commit

    def __enter__(self) -> "LoopbackHub":
        hub = self

        class Handler(Answers):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def got(self) -> list[str]:
        """The files whose content was asked for."""
        return [
            path.rpartition("/")[2] for method, path in self.asked if method == "GET" and "/resolve/" in path
        ]


class Answers(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: LoopbackHub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def log_message(self, *words: object) -> None:
        pass

    def answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.hub.asked.append((self.command, path))
        if path.startswith("api/models/"):
            repo, _, revision = path.removeprefix("api/models/").partition("/revision/")
            return self.listing(repo, revision or "main")
        repo, _, rest = path.partition("/resolve/")
        revision, _, file = rest.rpartition("/")
        return self.file(repo, revision, file)

    def commit(self, repo: str, revision: str) -> str | None:
        """The commit of a revision; an answer that says why there is none."""
        if repo in self.hub.refused:
            return self.refuse(*self.hub.refused[repo])
        if repo not in self.hub.models:
            return self.refuse(404, "RepoNotFound")
        known = {**self.hub.revisions[repo], **{commit: commit for commit in self.hub.models[repo]}}
        return known.get(revision.replace("%2F", "/")) or self.refuse(404, "RevisionNotFound")

    def listing(self, repo: str, revision: str) -> None:
        if commit := self.commit(repo, revision):
            files = self.hub.models[repo][commit]
            siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            body = json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode()
            self.send(200, {"Content-Type": "application/json"}, body)

    def file(self, repo: str, revision: str, name: str) -> None:
        if not (commit := self.commit(repo, revision)):
            return
        content = self.hub.models[repo][commit].get(name)
        if content is None:
            return self.refuse(404, "EntryNotFound", commit)
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit}
        self.send(200, headers, content, name in self.hub.cut)

    def refuse(self, status: int, code: str, commit: str = "") -> None:
        self.send(status, {"X-Error-Code": code, **({"X-Repo-Commit": commit} if commit else {})}, b"no")

    def send(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)

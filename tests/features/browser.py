"""Headless Chromium, driven by DevTools messages over a pipe: enough to open a page, click and read."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SAFELY = "(() => {{ try {{ return {}; }} catch {{ return false; }} }})()"
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe")
PATIENCE = 60
"""Seconds until a page that does not answer fails the test."""


class Browser:
    """One page. A context manager.

    messages  what the page wrote to the console, and its uncaught errors
    requests  addresses that it asked for
    """

    def __init__(self, profile: Path, width: int = 1400, height: int = 1000) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.number = 0
        self.session: str | None = None
        self.buffer = b""
        # Chromium reads its third and writes its fourth file descriptor.
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        command = f'exec "$0" "$@" 3<&{read_there} 4>&{write_there}'
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        self.process = subprocess.Popen(
            ["bash", "-c", command, CHROMIUM, *flags],
            pass_fds=(read_there, write_there),
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self.reader = read_here
        self.writer = write_here

    def __enter__(self) -> "Browser":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self.reader)
        os.close(self.writer)

    def call(self, method: str, **parameters) -> dict:
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.note(answer)

    def receive(self) -> dict:
        while b"\0" not in self.buffer:
            self.buffer += os.read(self.reader, 1 << 16)
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def note(self, event: dict) -> None:
        parameters = event.get("params", {})
        if event["method"] == "Runtime.exceptionThrown":
            self.messages.append(parameters["exceptionDetails"]["exception"]["description"])
        elif event["method"] == "Log.entryAdded":
            self.messages.append(parameters["entry"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled":
            self.messages.append(str(parameters["args"]))
        elif event["method"] == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def open(self, page: Path, place: str = "") -> None:
        """Open a file, and wait until its script has run and its thumbnails are there."""
        self.call("Page.navigate", url=f"file://{page}{place}")
        self.wait("document.readyState === 'complete' && videos.every((video) => video.sheetReady)")

    def wait(self, condition: str) -> None:
        """Wait until a condition of the page holds."""
        end = time.monotonic() + PATIENCE
        while self.value(SAFELY.format(condition)) is not True:
            assert time.monotonic() < end, f"the page does not reach {condition}: {self.messages}"
            time.sleep(0.05)

    def value(self, expression: str) -> object:
        """What an expression of the page is."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def click(self, selector: str, across: float = 0.5, down: float = 0.5) -> None:
        """Click within an element, at shares of its width and height."""
        box = self.value(f"document.querySelector({selector!r}).getBoundingClientRect().toJSON()")
        x, y, width, height = (box[side] for side in ("x", "y", "width", "height"))
        where = {"x": x + across * width, "y": y + down * height, "button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", **where)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", **where)

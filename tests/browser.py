"""A headless Chromium for tests of pages, spoken to over two pipes (DevTools protocol)."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_KEYS = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "Escape": 27}


def find_chromium() -> str:
    """The program, or a skip where there is none."""
    found = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    return found


class Page:
    """One opened page; use as a context manager.

    Attributes:
        errors: what the console and the page's scripts complained of.
        requests: every address that was asked for, the page's own included.
    """

    def __init__(
        self,
        url: str,
        width: int = 1000,
        height: int = 900,
        dark: bool = False,
        timeout: float = 120,
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._count = 0
        self._buffer = b""
        self._session: str | None = None
        self._media = "dark" if dark else "light"
        self._window = (width, height)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = False

    def __enter__(self) -> Page:
        program = find_chromium()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.downloads = Path(self._folder.name) / "downloads"
        self.downloads.mkdir()
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        # Above those that the shell is to give the names 3 and 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (to_read, to_write)]
        os.close(to_read)
        os.close(to_write)
        width, height = self._window
        command = [
            *("bash", "-c", f'exec "$@" 3<&{ends[0]} 4>&{ends[1]}', "bash", program),
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--remote-debugging-pipe", f"--user-data-dir={self._folder.name}/profile"),
            *("--no-first-run", "--disable-background-networking", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--window-size={width},{height}"),
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for end in ends:
            os.close(end)
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": self._media}],
        )
        self._call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads)
        )
        self._call("Page.navigate", url=self._url)
        self._until(lambda: self._loaded)
        # `autofocus` comes with the first frame: keys pressed before would go nowhere.
        self.evaluate("new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._folder.cleanup()

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key: a character, or `Enter`, `Tab`, `ArrowLeft`, …"""
        special = key in _KEYS
        code = _KEYS[key] if special else ord(key.upper())
        text = {"Enter": "\r"}.get(key, "" if special else key)
        named = {"key": key, "windowsVirtualKeyCode": code}
        if special:
            named["code"] = key
        self._call(
            "Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named
        )
        self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path) -> None:
        """Write a PNG of what is to be seen."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def wait_for_download(self) -> Path:
        """The first file that is complete in `downloads`."""
        self._until(lambda: any(not p.name.endswith(".crdownload") for p in self._downloaded()))
        return self._downloaded()[0]

    def _downloaded(self) -> list[Path]:
        return sorted(self.downloads.iterdir())

    def _until(self, is_so: Any) -> None:
        end = time.monotonic() + self._timeout
        while not is_so():
            assert time.monotonic() < end, "Chromium did not get there in time"
            self._receive(0.1)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        number = self._count
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + self._timeout
        while True:
            assert time.monotonic() < end, f"Chromium gave no answer to {method}"
            for answer in self._receive(0.5):
                if answer.get("id") == number:
                    assert "error" not in answer, answer["error"]
                    return answer["result"]

    def _receive(self, seconds: float) -> list[dict[str, Any]]:
        if select.select([self._read], [], [], seconds)[0]:
            part = os.read(self._read, 2**20)
            assert part, f"Chromium ended with {self._process.wait()}"
            self._buffer += part
        *whole, self._buffer = self._buffer.split(b"\0")
        messages = [json.loads(message) for message in whole]
        for message in messages:
            self._note(message.get("method"), message.get("params", {}))
        return messages

    def _note(self, method: str | None, given: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(given["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning"):
            self.errors.append(str(given["args"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            self.errors.append(given["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Page.loadEventFired":
            self._loaded = True

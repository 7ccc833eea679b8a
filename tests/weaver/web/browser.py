"""Headless Chromium, driven over HTTP by the W3C WebDriver protocol; no library between the test and chromedriver."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import requests

DEADLINE_S = 30.0
MISSING = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1400,1000",
]  # fmt: skip
T = TypeVar("T")


class Browser:
    """One window. Elements are named by CSS selectors."""

    def __init__(self, url: str) -> None:
        self._http = requests.Session()
        self._http.trust_env = False
        options = {
            "goog:chromeOptions": {"args": _ARGUMENTS},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "unhandledPromptBehavior": "ignore",
        }
        answer = self._send("POST", f"{url}/session", {"capabilities": {"alwaysMatch": options}})
        self._url = f"{url}/session/{answer['sessionId']}"

    def _send(self, method: str, url: str, body: object = None) -> Any:
        answer = self._http.request(method, url, json={} if body is None and method == "POST" else body, timeout=60)
        value = answer.json()["value"]
        assert answer.ok, f"{method} {url}: {value}"
        return value

    def close(self) -> None:
        """End the browser."""
        self._send("DELETE", self._url)
        self._http.close()

    def go(self, address: str) -> None:
        """Open an address and wait until it is loaded."""
        self._send("POST", f"{self._url}/url", {"url": address})

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page and give what it returns."""
        return self._send("POST", f"{self._url}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        """Give the visible text of an element; nothing while there is no such element."""
        return str(self.run("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector))

    def sees(self, selector: str) -> bool:
        """Say whether an element is there and visible."""
        return bool(self.run("const e = document.querySelector(arguments[0]); return !!e && e.checkVisibility()", selector))

    def _find(self, selector: str) -> str:
        wanted = {"using": "css selector", "value": selector}
        found = self.until(lambda: self._send("POST", f"{self._url}/elements", wanted), f"there is {selector}")
        return f"{self._url}/element/{found[0][_ELEMENT]}"

    def click(self, selector: str) -> None:
        """Click as a person does: on what is visible there; once more where it was drawn anew under the finger."""
        self.until(lambda: self._clicks(selector), f"a click on {selector}")

    def _clicks(self, selector: str) -> bool:
        try:
            self._send("POST", f"{self._find(selector)}/click")
        except AssertionError as error:
            if "stale element reference" in str(error):
                return False
            raise
        return True

    def type(self, selector: str, text: str) -> None:
        """Type into a field, or choose the file of this path."""
        self._send("POST", f"{self._find(selector)}/value", {"text": text})

    def until(self, is_so: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
        """Look again and again until something is true; give it."""
        deadline = time.monotonic() + deadline_s
        while not (found := is_so()):
            assert time.monotonic() < deadline, f"not in {deadline_s} s: {what}; the page: {self.text('body')[:2000]}"
            time.sleep(0.05)
        return found

    def until_text(self, selector: str, part: str) -> str:
        """Wait until the text of an element contains a part; give the text."""
        self.until(lambda: part in self.text(selector), f"{part!r} in {selector}, which says {self.text(selector)!r}")
        return self.text(selector)

    def emulate(self, command: str, **parameters: object) -> Any:
        """Give Chromium a command of its own protocol: sizes and colour schemes."""
        return self._send("POST", f"{self._url}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def picture(self, path: Path) -> None:
        """Write a picture of the window."""
        path.write_bytes(base64.b64decode(self._send("GET", f"{self._url}/screenshot")))

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Give what was logged since the last call; kind is browser (the console) or performance (the network)."""
        found: list[dict[str, Any]] = self._send("POST", f"{self._url}/se/log", {"type": kind})
        return found

    def requested(self) -> list[str]:
        """Give the addresses of every request since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.log("performance"))
        return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


@contextmanager
def driving(folder: Path) -> Iterator[Browser]:
    """Run chromedriver on any free port, and one window, until the block ends."""
    said = folder / "chromedriver.out"
    with said.open("wb") as output:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=output, stderr=subprocess.STDOUT)
    try:
        browser = Browser(f"http://127.0.0.1:{_port(driver, said)}")
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.wait(timeout=DEADLINE_S)


def _port(driver: subprocess.Popen[bytes], said: Path) -> int:
    deadline = time.monotonic() + DEADLINE_S
    while "started successfully on port " not in (text := said.read_text()):
        assert driver.poll() is None and time.monotonic() < deadline, text
        time.sleep(0.02)
    return int(text.rpartition("started successfully on port ")[2].split(".")[0])

"""A headless Chromium, driven over its DevTools pipe: no port, no driver, no library."""

import base64
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

CHROMIUM: Final = shutil.which("chromium")
"""Where Debian's package puts it; None where it is not installed."""

_OPTIONS: Final = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, where it cannot have one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

_PIPE_BYTES: Final = 1 << 16
"""Holds as much as a pipe does: a picture that a page shows comes along as text, megabytes long."""

_UNTIL: Final = """
new Promise((resolve) => {
  const holds = () => { try { return (%s); } catch { return false; } };
  const watcher = new MutationObserver(look);
  function look() {
    const held = holds();
    if (held) { watcher.disconnect(); resolve(held); }
  }
  watcher.observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true });
  look();
})
"""


class Browser:
    """A Browser is one Chromium with a profile of its own; as a context manager, one that is
    ended.
    """

    def __init__(self, directory: Path) -> None:
        assert CHROMIUM is not None
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads at descriptor 3 and writes at 4.
        shell = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        options = (*_OPTIONS, f"--user-data-dir={directory / 'profile'}", "about:blank")
        with (directory / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["/bin/bash", "-c", shell, CHROMIUM, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,
                env={**os.environ, "HOME": str(directory)},
            )
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread = bytearray()
        self._number = 0
        self.events: list[dict[str, Any]] = []
        """What the browser told beside answers, in order."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ask("Browser.close")
        self._process.wait(30)
        with suppress(ProcessLookupError):  # what it leaves behind would go on writing
            os.killpg(self._process.pid, signal.SIGKILL)
        os.close(self._out)
        os.close(self._in)

    def ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """What a command of the DevTools protocol answers.

        Raises:
            RuntimeError: it failed, or the browser has ended.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") != self._number:
                self.events.append(told)
            elif "error" in told:
                raise RuntimeError(f"{method}: {told['error']['message']}")
            else:
                return told["result"]

    def page(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        """A new tab of that size."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        page.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.ask("Emulation.setEmulatedMedia", features=[scheme])
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        return page

    def _read(self) -> dict[str, Any]:
        searched = 0
        while (end := self._unread.find(b"\0", searched)) < 0:
            searched = len(self._unread)
            read = os.read(self._in, _PIPE_BYTES)
            if not read:
                raise RuntimeError("the browser has ended")
            self._unread += read
        message = self._unread[:end]
        del self._unread[: end + 1]
        return json.loads(message)


class Page:
    """A Page is one tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """As Browser.ask, of this tab."""
        return self._browser.ask(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Load an address."""
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, once a promise that it gives is kept.

        Raises:
            RuntimeError: it threw.
        """
        told = self.ask(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"]))
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """What an expression gives as soon as, at a change of the page, it gives something; the
        test's own timeout bounds the wait.
        """
        return self.value(_UNTIL % expression)

    def type(self, selector: str, text: str) -> None:
        """Write into a field as from a keyboard."""
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        self.ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release Enter or Tab."""
        code, text = {"Enter": (13, "\r"), "Tab": (9, "")}[key]
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **told)

    def upload(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files in a field for them."""
        document = self.ask("DOM.getDocument")["root"]["nodeId"]
        node = self.ask("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.ask("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, to a PNG file."""
        told = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def complaints(self) -> list[str]:
        """What the console has of errors and of broken rules, those of the network among them."""
        self.value("1")  # what was told before is read with its answer
        told: list[str] = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            parameters = event.get("params", {})
            match event.get("method"):
                case "Runtime.exceptionThrown":
                    told.append(str(parameters["exceptionDetails"]))
                case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning"):
                    told.append(str(parameters["args"]))
                case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                    told.append(f"{parameters['entry']['text']} {parameters['entry'].get('url')}")
                case _:
                    pass
        return told

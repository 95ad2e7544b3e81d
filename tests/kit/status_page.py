"""The status page as somebody at a browser uses it."""

from typing import Final

from tests.kit.browser import Browser, Page
from tests.kit.fleet import Fleet

READY: Final = "document.querySelector('#verdict').dataset.state === 'healthy'"
ANSWERED: Final = "document.querySelector('.message.assistant .meta')"


FOLLOWED: Final = """
new Promise((resolve) => {
  const log = document.querySelector('#talk');
  const look = () => log.scrollHeight - log.scrollTop - log.clientHeight < 2
    ? resolve(log.scrollHeight > log.clientHeight) : requestAnimationFrame(look);
  look();
})
"""
"""Whether more was said than there is room for, once the last of it is seen."""


def opened(browser: Browser, fleet: Fleet, **options: int | bool) -> Page:
    """The page, once it shows something."""
    page = browser.page(**options)  # type: ignore[arg-type]
    page.go(fleet.url + "/")
    page.until(READY)
    return page


def choose(page: Page, model: str) -> None:
    """Talk to another model."""
    page.until(
        f"[...document.querySelectorAll('#model option')].some((o) => o.value === '{model}')"
    )
    page.value(
        "(() => { const select = document.querySelector('#model');"
        f" select.value = '{model}'; select.dispatchEvent(new Event('change')); }})()"
    )


def ask(page: Page, text: str) -> None:
    """Write a message and send it by the keyboard."""
    page.type("#prompt", text)
    page.press("Enter")

"""The status page in a real browser, over a real frontend."""

import signal
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.fleet.pictures import picture
from tests.kit.browser import CHROMIUM, Browser
from tests.kit.fleet import Fleet
from tests.kit.status_page import ANSWERED, FOLLOWED, READY, ask, choose, opened
from workers.demo_model import demo_model_dir

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)"
)

HOSTILE = "<img src=x onerror=document.title='owned'>"
"""A name that would run in a page that makes markup of it."""

TEXT = ("--served-model-name", "demo", "--sim-output-tokens-mean", "40")
SEES = (
    *("--model-path", str(demo_model_dir("vision")), "--served-model-name", "sees"),
    *("--context-length", "4096", "--sim-output-tokens-mean", "20"),
)
DRAWS = ("--image-diffusion-worker", "--served-model-name", "draws", "--sim-step-ms", "0")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests."""
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A model that writes, one that sees, one that draws, and one of a hostile name."""
    fleet = Fleet(tmp_path_factory.mktemp("status-page"))
    fleet.frontend()
    fleet.worker(*TEXT, "--worker-id", "writes")
    fleet.worker(*SEES, "--worker-id", "sees")
    fleet.worker(*DRAWS, "--worker-id", "draws")
    fleet.worker("--served-model-name", HOSTILE, "--worker-id", f"{HOSTILE}-id")
    fleet.wait_for_workers(4)
    yield fleet
    fleet.stop()


def test_workers_appear_and_a_killed_one_is_shown_as_lost(browser: Browser, fleet: Fleet) -> None:
    fleet.frontend()
    fleet.wait_until(lambda: fleet.get("/live")[0] == 200, "it is up")
    page = browser.page()
    page.go(fleet.url + "/")
    page.until("document.querySelector('#verdict').dataset.state === 'unhealthy'")
    assert "no worker is connected" in page.value("document.querySelector('#notices').textContent")
    slow = fleet.worker(*TEXT, "--worker-id", "slow", "--sim-startup-s", "600")
    page.until("document.querySelector('.worker[data-state=loading] .why').textContent.length > 9")
    victim = fleet.worker(*TEXT, "--worker-id", "victim")
    page.until("document.querySelector('.worker[data-state=ready] .id').textContent === 'victim'")
    victim.popen.kill()
    why = page.until("document.querySelector('.worker[data-state=lost] .why')?.textContent")
    assert "died" in why
    assert page.complaints() == []
    slow.kill()


def test_a_chat_streams_and_shows_in_the_lines(browser: Browser, served: Fleet) -> None:
    page = opened(browser, served)
    choose(page, "demo")
    ask(page, "Say something")
    page.until(
        "document.querySelector('#talk[aria-busy] .message.assistant .text').textContent.length > 3"
    )
    assert "tokens" in page.until(f"{ANSWERED}?.textContent")
    assert page.value("document.querySelector('.message.user').textContent") == "Say something"
    page.until("document.querySelector('.chart .line.main').getAttribute('d').includes('L')")
    page.until("document.querySelector('.chart .value').textContent !== '0'")
    ask(page, "And more")  # goes on with what was said
    page.until("document.querySelectorAll('.message.assistant .meta').length === 2")
    assert page.complaints() == []


def test_a_chat_is_stopped_by_its_button(browser: Browser, fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker("--served-model-name", "demo")  # writes as long as its context lets it
    fleet.wait_for_workers(1)
    page = opened(browser, fleet)
    page.until("!document.querySelector('#prompt').disabled")
    ask(page, "Say something")
    page.until("document.querySelector('.message.assistant .text').textContent.length > 3")
    page.value("document.querySelector('#send').click()")
    assert page.until(f"{ANSWERED}?.textContent") == "stopped"
    fleet.wait_until(
        lambda: not any(fleet.get("/health")[1]["workers"][0]["requests"]), "nothing runs"
    )
    assert page.complaints() == []


def test_pictures_are_sent_to_a_model_that_sees_and_drawn_by_one_that_draws(
    browser: Browser, served: Fleet, tmp_path: Path
) -> None:
    page = opened(browser, served)
    choose(page, "demo")
    assert page.value("document.querySelector('#attach').hidden") is True
    choose(page, "sees")
    assert page.value("document.querySelector('#attach').hidden") is False
    (tmp_path / "red.png").write_bytes(picture("red"))
    page.upload("#file", [tmp_path / "red.png"])
    page.until("document.querySelector('.upload img')")
    ask(page, "What is it?")
    page.until(ANSWERED)
    assert page.value("document.querySelector('.message.user img').naturalWidth") == 84
    assert page.value("document.querySelector('.message .failed')?.textContent") is None
    choose(page, "draws")
    ask(page, "a red circle on blue")
    page.until("document.querySelectorAll('.message.assistant .meta').length === 2")
    drawn = "document.querySelector('.message.assistant img')"
    assert page.value(f"{drawn}.decode().then(() => {drawn}.naturalWidth)") > 0
    for count in (3, 4, 5):
        ask(page, "and another one")
        page.until(f"document.querySelectorAll('.message.assistant .meta').length === {count}")
    assert page.value(FOLLOWED) is True
    assert page.complaints() == []


def test_errors_are_said_in_words_where_they_happen_and_below(
    browser: Browser, served: Fleet
) -> None:
    page = opened(browser, served)
    choose(page, "sees")
    ask(page, "word " * 5000)
    assert "context" in page.until("document.querySelector('.message .failed')?.textContent")
    assert "longer than" in page.until("document.querySelector('.error .what')?.textContent")


def test_a_request_is_found_by_its_id_and_says_where_its_time_went(
    browser: Browser, served: Fleet
) -> None:
    with served.client() as client:
        for _ in client.completions.create(
            model="demo", prompt="hi", stream=True, extra_headers={"x-request-id": "mine-alone"}
        ):
            pass
    page = opened(browser, served)
    assert page.until("document.querySelectorAll('#slowest tbody tr').length") > 0
    page.type("#find-id", "mine-alone")
    page.press("Enter")
    told = page.until("document.querySelector('tr.found')?.children[1].textContent")
    assert [part.split(" ")[0] for part in told.split(" · ")] == [
        "tokenized",
        "queued",
        "prefill",
        "answer",
    ]
    page.value("document.querySelector('#find-id').value = ''")
    page.type("#find-id", "nobodys")
    page.press("Enter")
    assert "No request" in page.until("document.querySelector('#not-found').textContent")
    assert page.value("document.querySelector('tr.found')") is None


def test_names_that_are_markup_stay_text(browser: Browser, served: Fleet) -> None:
    with served.client() as client, pytest.raises(openai.NotFoundError):
        client.completions.create(model=f"{HOSTILE}!", prompt=HOSTILE)
    page = opened(browser, served)
    page.until("document.querySelectorAll('.model').length === 4")
    titles = page.value("[...document.querySelectorAll('h3')].map((each) => each.textContent)")
    ids = page.value("[...document.querySelectorAll('.id')].map((each) => each.textContent)")
    assert HOSTILE in titles
    assert f"{HOSTILE}-id" in ids
    choose(page, "demo")
    ask(page, HOSTILE)
    page.until(ANSWERED)
    assert page.value("document.querySelectorAll('img[onerror], main img').length") == 0
    assert "owned" not in page.value("document.title")
    assert page.complaints() == []


def test_the_browser_itself_refuses_markup_and_foreign_scripts(
    browser: Browser, served: Fleet
) -> None:
    page = opened(browser, served)
    with pytest.raises(RuntimeError, match="TrustedHTML"):
        page.value(f"document.body.innerHTML = `{HOSTILE}`")
    blocked = page.value(
        "new Promise((resolve) => { document.addEventListener('securitypolicyviolation',"
        " (event) => resolve(event.effectiveDirective));"
        " new Image().src = 'http://127.0.0.2/x.png'; })"
    )
    assert blocked == "img-src"


@pytest.mark.parametrize("width", [320, 390, 1000])
def test_nothing_scrolls_sideways(browser: Browser, served: Fleet, width: int) -> None:
    page = opened(browser, served, width=width, height=800)
    page.until("document.querySelectorAll('.worker').length === 4")
    choose(page, "demo")
    ask(page, "x" * 300)
    page.until(ANSWERED)
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.complaints() == []


def test_it_is_dark_where_the_system_is_and_goes_by_keyboard(
    browser: Browser, served: Fleet
) -> None:
    shades: list[int] = []
    for dark in (False, True):
        page = opened(browser, served, dark=dark)
        colour = page.value("getComputedStyle(document.body).backgroundColor")
        shades.append(int(colour.removeprefix("rgb(").split(",")[0]))
    assert shades[0] > 200 > 50 > shades[1]
    page.press("Tab")
    assert page.value("document.activeElement.className") == "skip"
    unnamed = (
        "[...document.querySelectorAll('button, select, textarea, svg[role=img]')].filter((each) =>"
        " !each.textContent.trim() && !each.labels?.length && !each.ariaLabel)"
        ".map((each) => each.outerHTML)"
    )
    assert page.value(unnamed) == []


def test_a_page_whose_frontend_left_says_so_and_comes_back(browser: Browser, fleet: Fleet) -> None:
    frontend = fleet.frontend()
    fleet.worker(*TEXT)
    fleet.wait_for_workers(1)
    page = opened(browser, fleet)
    assert frontend.stop(signal.SIGTERM) == 0
    page.until("document.body.dataset.stale")
    assert page.value("document.querySelector('#verdict').textContent") == "not connected"
    fleet.frontend()
    page.until(READY)
    assert page.value("document.body.dataset.stale") is None

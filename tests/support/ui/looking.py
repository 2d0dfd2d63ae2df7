"""A page of the browser that keeps account of what went wrong while it was looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # not at run time: the tests are collected where there is no playwright, too
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Request, Response

    Effect = str | re.Pattern[str] | Locator | Callable[[], bool]
    """What an act leads to: a text or a place that is seen then, or anything that holds then."""

__all__ = ["BEGIN", "IDLE", "Look"]

IDLE = """
new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => requestIdleCallback(done))))
"""
"""Ends once the page has drawn what it had to draw, and its scripts have nothing left to do."""

LINES = """
[...document.querySelectorAll('.js-plotly-plot')].flatMap(
  chart => chart.data.map(line => [line.metricKey, line.name, Array.from(line.y)]))
"""
"""What each chart holds; MLflow's hold each line twice, once to be dimmed."""

Role = Literal["button", "combobox", "menuitem"]

WAIT_MS = 60_000
SETTLE_MS = 300
"""How long a page has to have asked for nothing, and to have drawn what it got, until it is left alone."""
POLL_MS = 50
EFFECT_MS = (3_000, 6_000, 12_000, 24_000)
"""How long the effect of an act is waited for, each time it is done."""

PREFERENCES = {
    "mlflow.workflowType_v1": '"machine_learning"',
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
    "mlflow.assistant.panelOpen_v1": "false",
    "mlflow.detectIssues.guidanceShown_v1": "true",
    "_mlflow_model_registry_promo_modal_dismissed_v1": "true",
}
"""What a user has chosen who has closed each of MLflow's greetings, in the browser's local storage."""

BEGIN = f"""
if (!sessionStorage.getItem('begun')) {{
  localStorage.clear();
  for (const [key, value] of Object.entries({json.dumps(PREFERENCES)})) localStorage.setItem(key, value);
  sessionStorage.setItem('begun', 'yes');
}}
"""
"""Each tab begins with these and with nothing that another one left, such as the last filter of an experiment."""

HARMLESS = re.compile(
    "/mlflow/users/current$"  # asked for on every page; only MLflow's server with logins has it, others answer 404
    "|/experiments/get-by-name\\?experiment_name=made-here$"  # 404 says that the name of a new experiment is free
)
HARMLESS_WORDS = "ResizeObserver loop completed"  # the browser's own: something was drawn one frame later
BANNERS = re.compile(r"something went wrong|an error occurred|failed to (load|fetch)|internal.?(server.)?error", re.I)


class Look:
    """One page; ``troubles`` lists each failed request, error in the console and exception in its scripts."""

    def __init__(self, context: BrowserContext, base: str, shots: Path) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.base = base
        self.troubles: list[str] = []
        self._shots = shots
        self._asked: set[Request] = set()
        self._changes: list[str] = []
        self.page.on("request", self._begun)
        self.page.on("requestfinished", self._ended)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))

    def _begun(self, request: Request) -> None:
        self._asked.add(request)
        if request.method != "GET":
            self._changes.append(f"{request.url} {request.post_data or ''}")

    def _ended(self, request: Request) -> None:
        self._asked.discard(request)

    def _failed(self, request: Request) -> None:
        self._asked.discard(request)
        if request.failure != "net::ERR_ABORTED":  # by the page itself, when it is left or asks anew
            self.troubles.append(f"{request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and not HARMLESS.search(response.url):
            asked = response.request
            self.troubles.append(f"{response.status} {asked.method} {asked.url} {asked.post_data or ''}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type != "error" or HARMLESS_WORDS in message.text:
            return
        if not HARMLESS.search(str(message.location.get("url", ""))):
            self.troubles.append(f"console: {message.text}")

    def open(self, path: str) -> None:
        """Go to a page of the user interface: what stands after the `#`."""
        self.page.goto(f"{self.base}/#{path}")
        self.settle()

    def reload(self) -> None:
        """Load the page anew, once all that it asked for has come."""
        self.settle()
        self.page.reload()
        self.settle()

    def settle(self) -> None:
        """Wait until nothing is asked for any more; a shared worker of MLflow's, which never reports its end, aside."""
        calm = 0
        while calm < 2:
            self.page.wait_for_timeout(SETTLE_MS / 2)
            self.page.evaluate(IDLE)
            calm = 0 if any("worker" not in request.url for request in self._asked) else calm + 1

    def shows(self, *texts: str | re.Pattern[str]) -> None:
        """Each of the texts can be seen, be it as a part of a longer one."""
        from playwright.sync_api import expect

        for text in texts:
            expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=WAIT_MS)

    def lacks(self, *texts: str) -> None:
        """None of the texts is on the page, or none is any more."""
        from playwright.sync_api import expect

        for text in texts:
            expect(self.page.get_by_text(text)).to_have_count(0, timeout=WAIT_MS)

    def charts(self, *expected: tuple[str, str]) -> dict[tuple[str, str], list[float]]:
        """The values that the page's charts have drawn, by metric and name of the run; the expected ones among them."""
        self.page.locator(".scatterlayer .trace path.js-line").first.wait_for(state="attached")
        assert self._comes(lambda: set(expected) <= self._lines().keys(), WAIT_MS), f"drawn: {list(self._lines())}"
        self.settle()
        return self._lines()

    def _lines(self) -> dict[tuple[str, str], list[float]]:
        return {(metric, run): values for metric, run, values in self.page.evaluate(LINES) if values}

    def expect_trouble(self, beginning: str) -> None:
        """Something went wrong as it should: this, and what the browser says of it."""
        assert any(each.startswith(beginning) for each in self.troubles), self.troubles
        self.troubles = [each for each in self.troubles if not each.startswith((beginning, "console: Failed to load"))]

    def until(self, effect: Effect, act: Callable[[], object]) -> None:
        """Act until the effect is there; where it is there already, nothing is done.

        A click is lost where the page is drawn anew at that moment, and so is a text that was typed. What must not
        be done twice needs an effect that is there at once, such as that the request is `sent`.
        """
        from playwright.sync_api import TimeoutError as PageTimeoutError

        for wait_ms in EFFECT_MS:
            if self._holds(effect):
                return
            self.page.set_default_timeout(wait_ms)
            try:
                act()
            except PageTimeoutError:  # it is not there, or no more
                pass
            finally:
                self.page.set_default_timeout(WAIT_MS)
            if self._comes(effect, wait_ms):
                return
        raise AssertionError(f"done {len(EFFECT_MS)} times, and there never was {effect}")

    def _holds(self, effect: Effect) -> bool:
        if callable(effect):
            return effect()
        place = self.page.get_by_text(effect) if isinstance(effect, (str, re.Pattern)) else effect
        return place.filter(visible=True).first.is_visible()

    def _comes(self, effect: Effect, wait_ms: int) -> bool:
        for _ in range(wait_ms // POLL_MS):
            if self._holds(effect):
                return True
            self.page.wait_for_timeout(POLL_MS)
        return self._holds(effect)

    def sent(self, part: str) -> Callable[[], bool]:
        """The effect that, from now on, a request other than a GET is made with that part in its address or body."""
        before = len(self._changes)
        return lambda: any(part in request for request in self._changes[before:])

    def there(self, place: Locator) -> Callable[[], bool]:
        """The effect that a place is on the page, be it too small to be seen, as what is checked of a switch."""
        return lambda: place.count() > 0

    def gone(self, place: Locator) -> Callable[[], bool]:
        """The effect that a place can't be seen any more."""
        return lambda: place.filter(visible=True).count() == 0

    def press(self, place: Locator, then: Effect) -> None:
        """Click on the first visible one of a place until the effect is there."""
        self.until(then, place.filter(visible=True).first.click)

    def click(self, name: str, then: Effect, role: Role = "button", *, exact: bool = False) -> None:
        """Click on a button, or what else has that role, of that name until the effect is there."""
        self.press(self.page.get_by_role(role, name=name, exact=exact), then)

    def choose(self, text: str, then: Effect) -> None:
        """Click on a place with that text and no other until the effect is there."""
        self.press(self.text(text), then)

    def pick(self, opener: Locator, item: Locator, then: Effect) -> None:
        """Click on an item of a list, which the opener opens, until the effect is there: a page closes its lists."""

        def open_and_pick() -> None:
            if not self._holds(item):
                opener.first.click()
            item.filter(visible=True).first.click()

        self.until(then, open_and_pick)

    def fill(self, place: Locator, text: str) -> None:
        """Type a text into the first visible one of a place until it stays there."""
        seen = place.filter(visible=True)

        def type_in() -> None:
            seen.first.fill(text)
            self.page.evaluate(IDLE)

        self.until(lambda: bool(seen.evaluate_all("fields => fields[0]?.value") == text), type_in)

    def enter(self, place: Locator, text: str, then: Effect) -> None:
        """Type a text and Enter until the effect is there: a page takes Enter only once it has drawn what was typed."""

        def type_in() -> None:
            self.fill(place, text)
            self.page.keyboard.press("Enter")

        self.until(then, type_in)

    def text(self, text: str) -> Locator:
        """The places with that text and no other."""
        return self.page.get_by_text(text, exact=True)

    def part(self, name: str) -> Locator:
        """The parts of the page of that name, which MLflow's developers gave them."""
        return self.page.locator(f'[data-component-id$=".{name}"]')

    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.get_by_role("dialog").filter(visible=True).last

    def shot(self, name: str) -> None:
        """Keep what is shown when all is there as a picture, and see that it is no error."""
        self.settle()
        self.page.screenshot(path=self._shots / f"{name}.png")
        assert not BANNERS.search(self.page.inner_text("body")), f"{name} shows an error"

    def close(self) -> None:
        self.page.close()

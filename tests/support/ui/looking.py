"""A page of the browser that keeps account of what went wrong while it was looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # not at run time: the tests are collected where there is no playwright, too
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Request, Response

__all__ = ["BEGIN", "Look"]

LINES = """
[...document.querySelectorAll('.js-plotly-plot')].flatMap(
  chart => chart.data.map(line => [line.metricKey, line.name, Array.from(line.y)]))
"""
"""What each chart holds; MLflow's hold each line twice, once to be dimmed."""

Role = Literal["button", "combobox", "menuitem"]

WAIT_MS = 30_000
SETTLE_MS = 300
"""How long a page is left alone, once all it asked for is there, to draw what it got."""

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
        self.page.on("request", self._begun)
        self.page.on("requestfinished", self._ended)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))

    def _begun(self, request: Request) -> None:
        self._asked.add(request)

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

    def settle(self) -> None:
        """Wait until nothing is asked for any more; a shared worker of MLflow's, which never reports its end, aside."""
        calm = 0
        while calm < 2:
            self.page.wait_for_timeout(SETTLE_MS / 2)
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

    def charts(self) -> dict[tuple[str, str], list[float]]:
        """The values that the page's charts have drawn, by metric and name of the run."""
        self.page.locator(".scatterlayer .trace path.js-line").first.wait_for(state="attached")
        self.settle()
        return {(metric, run): values for metric, run, values in self.page.evaluate(LINES)}

    def expect_trouble(self, beginning: str) -> None:
        """Something went wrong as it should: this, and what the browser says of it."""
        assert any(each.startswith(beginning) for each in self.troubles), self.troubles
        self.troubles = [each for each in self.troubles if not each.startswith((beginning, "console: Failed to load"))]

    def click(self, name: str, role: Role = "button", *, exact: bool = False) -> None:
        """Click on the first visible button, or what else has that role, of that name."""
        self.page.get_by_role(role, name=name, exact=exact).filter(visible=True).first.click()

    def open_list(self, name: str, item: str) -> None:
        """Click on a button until the list it opens shows an item: a page that is drawn again closes its lists."""
        from playwright.sync_api import TimeoutError as PageTimeoutError

        for _ in range(5):
            self.click(name)
            try:
                self.page.get_by_text(item, exact=True).filter(visible=True).first.wait_for(timeout=3_000)
            except PageTimeoutError:
                continue
            return
        raise AssertionError(f"{name} shows no {item}")

    def choose(self, text: str) -> None:
        """Click on the first visible place with that text and no other."""
        self.page.get_by_text(text, exact=True).filter(visible=True).first.click()

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

"""A real browser for tests: headless Chromium, what pages do in it, and two judges of a page.

`browser` and `page` are fixtures (tests/conftest.py hands them to every test). `watch(page)` notes
all that a page does; `overflow`, `accessibility` and `markup` return what is wrong with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page, Request

HERE = Path(__file__).resolve().parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium, for the tests of a module."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(
            "not run, for want of a browser: what pages do in one. sudo apt-get install chromium"
        )
    from playwright.sync_api import sync_playwright  # slow to import

    # root has no namespaces to give its renderers, so Chromium refuses to start with a sandbox
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=options)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of desktop size, in a profile of its own."""
    with browser.new_context(viewport=DESKTOP) as context:
        yield context.new_page()


@dataclass
class Seen:
    """What a page did: each list is empty where it is only text and pictures of its own."""

    dialogs: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """all that it loaded, itself first; data: is of its own"""
    popups: list[str] = field(default_factory=list)


def watch(page: Page) -> Seen:
    """Note from now on what a page does; dialogs are dismissed."""
    seen = Seen()

    def dismiss(dialog: Dialog) -> None:
        seen.dialogs.append(dialog.message)
        dialog.dismiss()

    def note(request: Request) -> None:
        if not request.url.startswith("data:"):
            seen.requests.append(request.url)

    page.on("dialog", dismiss)
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", note)
    page.on("popup", lambda popup: seen.popups.append(popup.url))
    return seen


def overflow(page: Page) -> list[str]:
    """Return what reaches beyond the page's right edge, so that a reader has to scroll sideways.

    What lies in a box that scrolls by itself does not count.
    """
    return page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.body.querySelectorAll("*")]
                .filter(each => each.getBoundingClientRect().right > width + 1)
                .map(each => `${each.tagName}.${each.className}: ${each.textContent.slice(0, 60)}`)
                .concat([`the page is ${document.documentElement.scrollWidth} px wide`]);
        }"""
    )


def accessibility(page: Page) -> list[str]:
    """Return axe's complaints of a page, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for rule in found
        for node in rule["nodes"]
    ]


def markup(*paths: Path) -> list[str]:
    """Return html-validate's complaints of pages, a line each; skips where it is not installed."""
    program = HERE / "node_modules" / "html-validate" / "bin" / "html-validate.mjs"
    node = shutil.which("node")
    if node is None:
        pytest.skip("not run, for want of node: HTML's validation. sudo apt-get install nodejs npm")
    if not program.exists():
        pytest.skip(
            "not run, for want of html-validate: HTML's validation. npm ci --prefix tests/browser"
        )
    ended = subprocess.run(
        [node, program, "--config", HERE / "htmlvalidate.json", "--formatter", "json", *paths],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert ended.returncode in (0, 1) and ended.stdout, ended.stderr
    return [
        f"{Path(report['filePath']).name}:{said['line']}:{said['column']} "
        f"{said['ruleId']}: {said['message']}"
        for report in json.loads(ended.stdout)
        for said in report["messages"]
    ]

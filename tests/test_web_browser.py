"""The page in a real browser: it moves while a run trains, fits a phone, and is usable without sight or mouse."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from paribus.launch import conduct
from paribus.store import Results
from paribus.testing.synthetic import example_experiment, write_results
from web_results import add_epoch, reopen_run
from web_server import Address, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PAGES = {
    "experiments": "/",
    "finished": "/experiments/finished",
    "training": "/experiments/training",
    "compare": "/experiments/finished/compare",
    "two arms": "/experiments/finished/compare?first=control&second=relu",
    "api": "/api",
    "error": "/experiments/none",
}
CHART = "[data-curves] figure[data-key=val_accuracy] .plot"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"a browser is needed: none of {', '.join(BROWSERS)} is on the path")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("results")
    accuracy = {"control": 0.8, "relu": 0.9, "lr-10": 0.3, "lr-0.001": 0.5}
    conduct.rebuild(write_results(parent / "finished", example_experiment(seeds=3, epochs=4), accuracy))
    experiment = example_experiment(seeds=3, epochs=8)
    others = [(arm, seed) for arm in experiment.arms if arm not in ("control", "relu") for seed in range(3)]
    results = write_results(parent / "training", experiment, {"control": 0.9}, missing=others, diverged=[("relu", 1)])
    reopen_run(results.run_folder("relu", 2), 2)
    return parent


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Address]:
    with serving(folder) as address:
        yield address


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport=WIDE, reduced_motion="reduce")  # type: ignore[arg-type]
    yield made
    made.close()


def opened(context: BrowserContext, server: Address, address: str) -> tuple[Page, list[str]]:
    """Open a page and wait for its curves; also what its console complains of."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.url + address)
    if page.locator("[data-curves]").count():
        page.wait_for_selector(f"{CHART} .scatterlayer")
    return page, complaints


def until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something; the browser cannot, as the page's policy lets nobody evaluate text in it."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.1)


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def serious(page: Page) -> list[str]:
    """The serious and critical faults that axe finds, with the elements that have them."""
    found = json.loads(json.dumps(Axe().run(page).response))["violations"]
    return [
        f"{fault['id']}: {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_usable_wide_and_on_a_phone_light_and_dark(
    context: BrowserContext, server: Address, name: str
) -> None:
    page, complaints = opened(context, server, PAGES[name])
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    until(lambda: overflow(page) == 0)
    assert serious(page) == []
    assert [complaint for complaint in complaints if name != "error" or "404" not in complaint] == []


def test_the_test_of_the_width_has_teeth(context: BrowserContext, server: Address) -> None:
    page, _ = opened(context, server, "/")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.evaluate("document.querySelector('h1').style.width = '500px'")
    assert overflow(page) > 0


def test_the_test_of_accessibility_has_teeth(context: BrowserContext, server: Address) -> None:
    page, _ = opened(context, server, "/")
    page.evaluate("document.querySelector('h1').style.color = '#eee'")
    assert [fault.partition(":")[0] for fault in serious(page)] == ["color-contrast"]


def test_curves_and_progress_move_while_a_run_trains(context: BrowserContext, server: Address, folder: Path) -> None:
    page, complaints = opened(context, server, PAGES["training"])
    run = Results.open(folder / "training").run_folder("relu", 2)
    row = page.locator("table.runs tr", has=page.get_by_role("rowheader", name="relu", exact=True))
    assert "1 training (epoch 2 of 8)" in row.inner_text()
    ends = "plot => Math.max(...plot.data.filter(t => t.name === 'relu, seed 2').flatMap(t => t.x))"
    assert page.locator(CHART).evaluate(ends) == 2
    add_epoch(run, 0.61)
    until(lambda: page.locator(CHART).evaluate(ends) == 3)
    until(lambda: "1 training (epoch 3 of 8)" in row.inner_text())
    add_epoch(run, 0.73)
    until(lambda: page.locator(CHART).evaluate(ends) == 4)
    until(lambda: "1 training (epoch 4 of 8)" in row.inner_text())
    texts = "plot => plot.data.find(trace => trace.name === 'relu, seed 2').customdata"
    assert page.locator(CHART).evaluate(texts)[2:] == ["61.00 %", "73.00 %"]
    page.get_by_text("Last values as a table").click()
    assert "73.00 %" not in page.locator(".values table").inner_text()  # The mean of runs that ended comes first.
    assert complaints == []


def test_an_experiment_that_ends_shows_its_verdicts_without_a_reload(
    context: BrowserContext, tmp_path: Path, folder: Path
) -> None:
    copied = Path(shutil.copytree(folder / "finished", tmp_path / "results" / "ends"))
    verdicts = (copied / "verdicts.json").rename(tmp_path / "verdicts.json")
    with serving(tmp_path / "results") as server:
        page, _ = opened(context, server, "/experiments/ends")
        assert "There are no verdicts yet" in page.locator("#verdicts").inner_text()
        add_epoch(copied / "runs" / "relu" / "0", 0.9)
        shutil.copy(verdicts, copied / "verdicts.json")
        until(lambda: page.locator("#verdicts .strip").count() == 5)


def test_a_question_and_arms_are_chosen_by_keyboard(context: BrowserContext, server: Address) -> None:
    page, complaints = opened(context, server, PAGES["finished"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.get_by_label("Question").select_option("lr")
    until(lambda: page.locator(".legend button").count() == 5)
    button = page.get_by_role("button", name="lr-10")
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    names = page.locator(CHART).evaluate("plot => [...new Set(plot.data.map(trace => trace.name))].sort()")
    assert names == ["control", "lr-0.001", "lr-0.01", "lr-1"]
    described = page.locator(CHART).get_attribute("aria-label")
    assert described
    assert described.startswith("Validation accuracy by epoch. control: ")
    assert "lr-10:" not in described
    assert complaints == []


def test_two_arms_are_chosen_and_compared(context: BrowserContext, server: Address) -> None:
    page, complaints = opened(context, server, PAGES["compare"])
    page.get_by_label("Second").select_option("relu/1")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_selector(f"{CHART} .scatterlayer")
    assert page.url.endswith("compare?first=control&second=relu%2F1")
    loaded = "[...document.querySelectorAll('.pictures img')].every(image => image.complete && image.naturalWidth > 0)"
    page.locator(".pictures li").last.scroll_into_view_if_needed()
    until(lambda: page.evaluate(loaded))
    assert complaints == []


def test_a_card_leads_to_its_experiment_and_the_report_runs_no_script(context: BrowserContext, server: Address) -> None:
    page, complaints = opened(context, server, "/")
    page.locator(".card", has_text="finished").first.click()
    page.wait_for_url("**/experiments/*")
    page.goto(f"{server.url}{PAGES['finished']}")
    page.get_by_role("link", name="Open the report").click()
    page.wait_for_selector("#summary")
    assert page.evaluate("self.origin") == "null"
    assert complaints == []


def test_a_server_that_is_gone_is_told(context: BrowserContext, folder: Path) -> None:
    with serving(folder) as server:
        page, _ = opened(context, server, PAGES["training"])
        page.route("**/*", lambda route: route.abort())
        until(lambda: page.locator("html[data-lost]").count() == 1, seconds=40)
        told = "getComputedStyle(document.querySelector('.top'), '::after').content"
        assert page.evaluate(told) == '"The server does not answer: this page stands still."'
        page.unroute_all()
        until(lambda: page.locator("html[data-lost]").count() == 0)

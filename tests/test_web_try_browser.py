"""Trying networks in a real browser: drawing stroke by stroke, giving photos, on a wide screen and on a phone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from paribus.data import load_data
from pretrained import real_weights
from trained_models import trained
from tried_results import MNIST, SCRIPT, write_tried
from web_server import Address, serving

Points = list[tuple[int, int]]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="a browser is needed: there is no chromium on the path")
ANSWER_MS = 30_000  # The first answer loads torch, beside other tests.

# On a canvas of 280 x 280, as a hand draws them.
STROKES: dict[str, list[Points]] = {
    "0": [[(140, 50), (95, 75), (80, 140), (95, 205), (140, 230), (185, 205), (200, 140), (185, 75), (145, 50)]],
    "1": [[(140, 50), (140, 120), (138, 230)]],
    "2": [[(85, 95), (105, 60), (150, 50), (185, 75), (185, 110), (150, 160), (85, 225), (200, 225)]],
    "4": [[(110, 55), (85, 150), (190, 150)], [(175, 90), (170, 235)]],
    "7": [[(75, 60), (200, 60), (165, 140), (135, 230)]],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that has nothing to complain of."""
    page = browser.new_page(viewport={"width": 1200, "height": 1000})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """LeNet-5 on digits, two arms of one network; class 0 has a script for a name."""
    with serving(write_tried(tmp_path_factory.mktemp("results"))) as address:
        yield address


def open_page(page: Page, server: Address, width: int = 1200, **media: Any) -> Page:
    page.set_viewport_size({"width": width, "height": 1000})
    page.emulate_media(**media)
    page.goto(f"{server.url}/experiments/small/try")
    return page


def draw(page: Page, digit: str) -> None:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    for (x, y), *rest in STROKES[digit]:
        scale = box["width"] / 280
        page.mouse.move(box["x"] + x * scale, box["y"] + y * scale)
        page.mouse.down()
        for right, down in rest:
            page.mouse.move(box["x"] + right * scale, box["y"] + down * scale, steps=8)
        page.mouse.up()


def best(page: Page, index: int = 0) -> Any:
    return page.locator(".answer .best .name").nth(index)


def serious(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found if each["impact"] in ("serious", "critical")]


def test_a_drawing_is_answered_while_it_is_drawn(page: Page, server: Address) -> None:
    open_page(page, server)
    expect(page.locator("#undo")).to_be_disabled()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 220, steps=10)
    expect(page.locator(".bars li")).to_have_count(10, timeout=ANSWER_MS)  # The button is still down.
    first = page.locator(".answer .seen").first.get_attribute("src")
    page.mouse.move(box["x"] + 240, box["y"] + 220, steps=10)
    expect(page.locator(".answer .seen").first).not_to_have_attribute("src", str(first))
    page.mouse.up()
    page.click("#undo")
    expect(page.locator(".answer")).to_have_count(0)
    expect(page.locator("#undo")).to_be_disabled()


def test_two_networks_answer_side_by_side(page: Page, server: Address) -> None:
    open_page(page, server).select_option("#other", "sorted")
    draw(page, "0")
    expect(page.locator(".answer")).to_have_count(2, timeout=ANSWER_MS)
    expect(page.locator(".answer .arm")).to_have_text(["control, seed 0", "sorted, seed 0"])
    expect(page.locator(".answer").first.locator(".maps img")).to_have_count(2)
    tops = [page.locator(".answer").nth(index).bounding_box() for index in (0, 1)]
    assert tops[0] and tops[1] and tops[0]["y"] == tops[1]["y"] and tops[0]["x"] < tops[1]["x"]
    page.select_option("#other", "")
    expect(page.locator(".answer")).to_have_count(1)


def test_a_class_name_with_a_script_is_text(page: Page, server: Address) -> None:
    open_page(page, server)
    page.fill("#pen", "60")
    draw(page, "0")
    expect(best(page)).to_have_text(SCRIPT, timeout=ANSWER_MS)
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_the_keyboard_draws_too(page: Page, server: Address) -> None:
    open_page(page, server).focus("#canvas")
    page.keyboard.press("Space")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator(".bars li")).to_have_count(10, timeout=ANSWER_MS)
    page.keyboard.press("Backspace")
    expect(page.locator(".answer")).to_have_count(0)


def test_an_image_is_given_and_a_bad_one_told(page: Page, server: Address, tmp_path: Path) -> None:
    open_page(page, server)
    digit = load_data("digits", size=28).test.images[5, 0]
    Image.fromarray(255 - digit).save(tmp_path / "digit.png")
    page.set_input_files("#file", tmp_path / "digit.png")
    expect(page.locator(".notes li")).to_contain_text("looks like a negative", timeout=ANSWER_MS)
    page.check("#invert")
    expect(page.locator(".notes li")).to_have_count(0)
    expect(page.locator("#thumbnail")).to_be_visible()


def test_a_file_that_is_no_image_is_told(browser: Browser, server: Address, tmp_path: Path) -> None:
    page = browser.new_page()  # Chromium itself notes the status 415 in its console.
    open_page(page, server)
    (tmp_path / "page.png").write_text("<!doctype html><script>alert(1)</script>")
    page.set_input_files("#file", tmp_path / "page.png")
    expect(page.locator("#message")).to_contain_text("A file must be an image", timeout=ANSWER_MS)
    expect(page.locator(".answer")).to_have_count(0)
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_there_is_no_serious_fault_at_any_width(page: Page, server: Address, width: int, scheme: str) -> None:
    open_page(page, server, width, color_scheme=scheme)
    assert serious(page) == []
    page.select_option("#other", "sorted")
    draw(page, "7")
    expect(page.locator(".answer")).to_have_count(2, timeout=ANSWER_MS)
    page.wait_for_timeout(300)
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.real_data
def test_digits_drawn_stroke_by_stroke_are_classified_right(page: Page, tmp_path: Path, data_folder: Path) -> None:
    trained(tmp_path / "small", MNIST, "native", load_data("mnist", data_folder, pad=2))
    with serving(tmp_path) as server:
        open_page(page, server)
        for digit in STROKES:
            draw(page, digit)
            expect(best(page)).to_have_text(digit, timeout=ANSWER_MS)
            page.click("#clear")
            expect(page.locator(".answer")).to_have_count(0)


@pytest.mark.real_data
def test_a_dog_and_a_cat_are_told_apart(page: Page, tmp_path: Path, data_folder: Path) -> None:
    real_weights("mobilenetv2_100.tf_in1k")
    whole = load_data("dogs-vs-cats", data_folder, size=256, fit="crop")
    recipe = {
        "data": {"name": "dogs-vs-cats", "size": 256, "fit": "crop", "train_size": 60},
        "model": {"name": "pretrained", "weights": "mobilenetv2_100.tf_in1k", "train": "head"},
        "optim": {"name": "lbfgs"},
        "train": {"epochs": 1},
    }
    trained(tmp_path / "small", recipe, "features", whole)
    with serving(tmp_path) as server:
        open_page(page, server)
        for kind in ("dog", "cat"):
            photos = sorted((data_folder / "dogs-vs-cats" / "test" / kind).iterdir())
            page.set_input_files("#file", photos[1])
            expect(best(page)).to_have_text(kind, timeout=ANSWER_MS)
        assert serious(page) == []

"""The page in a browser: it opens, filters, compares and copies, by mouse and keys, and asks nobody for anything."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sdbatch import api
from sdbatch.api import serving
from sdbatch.report import page as pages
from sdbatch.store import images
from sdbatch.store.directory import RunDirectory

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
RunJob = Callable[..., "api.RunReport"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield chromium
        chromium.close()


class Opened:
    """A page, with what it complained of and asked for."""

    def __init__(self, browser: Any, url: str) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda one: self.wrong.append(one.text) if one.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda one: self.asked.append(one.url))
        self.page.goto(url)
        self.page.wait_for_selector("h1")

    def until(self, expression: str, seconds: float = 20) -> None:
        """Wait until it holds; the page's own rules forbid what Playwright's waiting does."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, expression
            self.page.wait_for_timeout(50)

    def rows(self) -> list[str]:
        """Row keys of the tiles that are in the document, by their place."""
        found: list[str] = self.page.eval_on_selector_all(
            ".tile", "all => all.sort((a, b) => a.offsetTop - b.offsetTop || a.offsetLeft - b.offsetLeft)"
            ".map(one => one.dataset.row)",
        )  # fmt: skip
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_job: RunJob) -> Path:
    """Six pictures, and a row whose input is not there."""
    folder = tmp_path_factory.mktemp("browser")
    lines: list[dict[str, Any]] = [
        {"mode": "txt2img", "color": color, "prompt": f"a {color} star", "seed": seed}
        for color in ("red", "blue") for seed in (7, 8, 9)
    ]  # fmt: skip
    lines.append({"mode": "img2img", "color": "green", "prompt": "a green star", "seed": 7, "image": "none.png"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = {"name": "pages", "steps": 1, "rows": "rows.jsonl", "render": {"threads": 1, "batch_size": 3}}
    assert run_job(job, folder / "run").failed == 1
    api.report(folder / "run")
    return folder / "run"


@pytest.fixture
def opened(browser: Any, run: Path) -> Iterator[Opened]:
    found = Opened(browser, (run / "report.html").as_uri())
    yield found
    assert found.wrong == []
    assert [url for url in found.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    found.context.close()


def test_it_opens_filters_searches_and_sorts(opened: Opened) -> None:
    page = opened.page
    page.wait_for_selector(".tile")
    everything = opened.rows()
    assert len(everything) == 6 and "6 of 6 pictures, 1 left, 1 failed" in page.inner_text(".counts")
    assert page.eval_on_selector_all(".tile img", "all => all.every(one => one.complete && one.naturalWidth > 0)")
    page.get_by_role("checkbox", name="blue 3", exact=True).check()
    assert len(opened.rows()) == 3 and "3 of 6" in page.inner_text(".counts")
    page.get_by_role("button", name="Clear the choices").click()
    page.keyboard.press("/")
    page.keyboard.type("RED star")
    assert len(opened.rows()) == 3 and set(opened.rows()) < set(everything)
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.get_by_label("Sort by").select_option("seed")
    page.get_by_role("button", name="Turn the order").click()
    page.locator(".tile").first.wait_for()
    captions = page.eval_on_selector_all(".tile figcaption", "all => all.map(one => one.title)")
    seeds = [re.findall(r"seed (\d)", text)[0] for text in captions]
    places = [
        opened.rows().index(row) for row in page.eval_on_selector_all(".tile", "all => all.map(a => a.dataset.row)")
    ]
    assert [seed for _, seed in sorted(zip(places, seeds, strict=True))] == ["9", "9", "8", "8", "7", "7"]


def test_it_is_used_by_keys_alone(opened: Opened) -> None:
    page = opened.page
    page.wait_for_selector(".tile")
    for key in ("ArrowRight", "ArrowRight", "Enter"):  # nothing was clicked, nor was Tab pressed
        page.keyboard.press(key)
    page.wait_for_selector(".detail")
    row = opened.rows()[1]
    assert row in page.inner_text(".detail") and "pixel_sha256" in page.inner_text(".detail")
    page.keyboard.press("Escape")
    assert page.locator(".detail").count() == 0
    page.focus(".gallery")
    for key in ("Home", "Space", "End", "Space", "c"):
        page.keyboard.press(key)
    page.wait_for_selector(".compare")
    assert page.locator(".compare img").count() == 2
    page.keyboard.press("Escape")
    for key, what in (("2", ".cells"), ("3", ".failures"), ("4", ".throughput svg"), ("5", ".job"), ("1", ".gallery")):
        page.keyboard.press(key)
        page.wait_for_selector(what)
    page.keyboard.press("?")
    assert page.locator(".help").is_visible()
    page.keyboard.press("Escape")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_what_is_copied_makes_the_picture_again(opened: Opened, run: Path, tmp_path: Path) -> None:
    page = opened.page
    page.wait_for_selector(".tile")
    row = opened.rows()[4]
    page.locator(f'.tile[data-row="{row}"]').click()
    page.evaluate("() => { window.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text) } }")
    page.get_by_role("button", name="Copy as job").click()
    page.get_by_text("job copied").wait_for()
    page.get_by_role("button", name="Copy A1111 parameters").click()
    page.get_by_text("parameters copied").wait_for()
    copied = page.evaluate("window.copied")
    spec = tmp_path / "copied.yaml"
    spec.write_text(copied[0])
    (again,) = api.job(spec, out=tmp_path / "run").rows.take([0])
    line = next(one for one in RunDirectory(run).manifest().read().to_pylist() if one["row"] == row)
    assert again.id == line["id"]
    texts = images.read_texts((run / line["path"]).read_bytes())
    assert texts is not None and copied[1] == texts.parameters


def test_axes_are_dragged(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("2")
    page.wait_for_selector(".cells td")
    heads = page.locator(".cells thead th")
    assert [text for text in heads.all_inner_texts() if text] == ["7", "8", "9"]
    page.locator(".chip", has_text="color").drag_to(page.locator('.slot[data-way="x"]'))
    assert [text for text in heads.all_inner_texts() if text] == ["blue", "red"]
    assert [text for text in page.locator(".cells tbody th").all_inner_texts() if text] == ["7", "8", "9"], "swapped"
    assert page.locator(".cells td img").count() == 6


def test_pictures_are_laid_over_each_other(opened: Opened) -> None:
    page = opened.page
    page.wait_for_selector(".tile")
    for place in (0, 3):
        page.locator(".tile").nth(place).click(modifiers=["Control"])
    page.get_by_role("button", name="Compare 2").click()
    page.get_by_role("button", name="Slider").click()
    page.get_by_label("position").fill("25")
    assert "25%" in page.eval_on_selector(".stack img:nth-of-type(2)", "one => getComputedStyle(one).clipPath")
    page.get_by_role("button", name="Difference").click()
    blend = page.eval_on_selector(".stack img:nth-of-type(2)", "one => getComputedStyle(one).mixBlendMode")
    assert blend == "difference"
    seen = page.locator(".stack").screenshot()
    assert len(seen) > 1000


def test_a_key_right_after_a_click_knows_of_it(opened: Opened) -> None:
    opened.page.wait_for_selector(".tile")
    opened.page.evaluate(
        """async () => {
            for (const tile of [...document.querySelectorAll(".tile")].slice(0, 2)) {
                tile.dispatchEvent(new MouseEvent("click", { bubbles: true, ctrlKey: true }));
                for (let turn = 0; turn < 5; turn++) await null;
            }
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "c", bubbles: true }));
        }"""
    )
    opened.until("document.querySelectorAll('.compare img').length === 2")


def test_failures_are_grouped_by_reason(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("3")
    assert page.locator(".failures details").count() == 1
    assert "InputError" in page.inner_text(".failures summary") and "color green" in page.inner_text(".failures")


def test_a_page_without_its_folder_has_thumbnails(browser: Any, run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "report.html", tmp_path / "alone.html")
    opened = Opened(browser, (tmp_path / "alone.html").as_uri())
    opened.page.locator(".tile").first.click()
    opened.until("document.querySelector('.whole img')?.naturalWidth > 0")
    assert opened.page.eval_on_selector(".whole img", "one => one.src").startswith("data:image/webp")
    opened.context.close()


def test_a_hundred_thousand_rows_scroll(browser: Any, tmp_path: Path) -> None:
    count = 100_000
    table = pa.table({
        "row": [f"{at:020x}" for at in range(count)], "path": ["images/none.png"] * count, "mode": ["txt2img"] * count,
        "seed": list(range(count)), "prompt": [f"a thing, number {at % 500}" for at in range(count)],
        "model": ["demo"] * count, "finished_at": ["2026-01-01T00:00:00+00:00"] * count, "id": ["x"] * count,
        "stage": ["main"] * count, "field_kind": [f"kind {at % 7}" for at in range(count)],
    })  # fmt: skip
    dot = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
    (tmp_path / "many.html").write_bytes(pages.page(pages.Content("many", "/x", "now", table, inline=[dot] * count)))
    opened = Opened(browser, (tmp_path / "many.html").as_uri())
    page = opened.page
    page.wait_for_selector(".tile")
    most = 0
    for share in (0.1, 0.37, 0.5, 0.99, 1):
        page.eval_on_selector(".gallery", f"box => box.scrollTop = {share} * box.scrollHeight")
        page.wait_for_timeout(100)
        most = max(most, page.evaluate("document.querySelectorAll('*').length"))
    assert f"{count - 1:020x}" in opened.rows(), "the end is reached"
    assert most < 1500, "only what is in sight is in the document"
    page.get_by_label("Search in prompts").fill("thing 499")
    opened.until("document.querySelector('.counts').innerText.startsWith('200 of 100,000')")
    page.get_by_role("checkbox", name="kind 3").check()
    opened.until("/^(28|29) of/.test(document.querySelector('.counts').innerText)")
    assert opened.wrong == []
    opened.context.close()


def test_it_follows_a_run(browser: Any, tmp_path: Path, run_job: RunJob) -> None:
    job = {"prompt": "a star", "steps": 1, "grid": {"seed": {"range": [0, 5]}}, "render": {"batch_size": 1}}
    run_job(job, tmp_path / "run", limit=2)
    with serving.Server(tmp_path / "run") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        opened = Opened(browser, server.url)
        opened.page.wait_for_selector(".tile")
        assert len(opened.rows()) == 2 and "3 left" in opened.page.inner_text(".counts")
        run_job(job, tmp_path / "run")
        opened.until("document.querySelectorAll('.tile').length === 5")
        assert opened.page.eval_on_selector_all(".tile img", "all => all.length") == 5
        assert {url.split("/")[2] for url in opened.asked if url.startswith("http")} == {server.url.split("/")[2]}
        assert opened.wrong == []
        opened.context.close()
        server.shutdown()
        thread.join()

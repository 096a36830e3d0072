# SPDX-License-Identifier: Apache-2.0
"""The explorer in a browser: clicks, filters and brushes act, paper is white, and nothing is logged as an error."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filled_store import fill

from simsparse.core.pareto import pareto_front
from simsparse.report.explore import write_explorer
from simsparse.report.reader import read_results
from simsparse.report.results import Results

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium"),
    pytest.mark.xdist_group("browser"),
]
FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
COLUMN = "(rows, place) => rows.map(row => row.children[place].textContent)"
COLOURS = "box => box.toDataURL()"
FRONT = """() => {
  const [x, y] = ["Latency", "Energy"].map(name => data.columns.find(column => column.label === name));
  return front(x, y, [...Array(data.size).keys()]).map(i => [x.values[i], y.values[i]]);
}"""
REDRAW = """() => new Promise(done => {
  const query = document.getElementById("query"), start = performance.now();
  query.value = "4 TB";
  query.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
})"""
PAPER = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return read_results(fill(tmp_path_factory.mktemp("explore")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A window of 1,280 x 1,500, whose console stays empty."""
    logged: list[str] = []
    tab = browser.new_page(viewport={"width": 1280, "height": 1500})
    tab.on("console", lambda message: logged.append(message.text))
    tab.on("pageerror", lambda error: logged.append(str(error)))
    yield tab
    tab.close()
    assert logged == []


def test_a_reader_clicks_brushes_filters_and_prints(page: Any, results: Results, tmp_path: Path) -> None:
    page.goto(write_explorer(tmp_path / "explore.html", results).as_uri())
    count, query, about = (page.locator(name) for name in ("#count", "#query", "#about"))
    rows, heads, box = (page.locator(name) for name in ("#body tr[data-point]", "#head th", "#parallel"))

    def column(place: int) -> list[str]:
        page.evaluate(FRAMES)
        found: list[str] = rows.evaluate_all(COLUMN, place)
        return found

    def drag(down: float, up: float) -> str:
        """Along the first axis, from and to shares of its height; what the page then counts."""
        area = box.bounding_box()
        page.mouse.move(area["x"] + 24, area["y"] + down * area["height"])
        page.mouse.down()
        page.mouse.move(area["x"] + 24, area["y"] + up * area["height"])
        page.mouse.up()
        counted: str = count.inner_text()
        return counted

    workloads = [point.workload for point in results.points]
    everything, half = (f"{size} of {len(workloads)} points" for size in (len(workloads), workloads.count("Llama")))
    assert count.inner_text() == everything
    orders = heads.evaluate_all("all => all.map(head => head.ariaSort)")
    latency = [name.split()[0] for name in heads.all_inner_texts()].index("Latency")
    assert orders.index("ascending") == latency, "the fastest is first"
    known = [text for text in column(latency) if text != "–"]
    heads.nth(latency).locator("button").click()
    assert column(latency) == [*reversed(known), "–"], "unknown values stay last"

    assert drag(0.6, 0.98) == half and set(column(0)) == {"Llama"}, "the lower half of the first axis"
    assert drag(0.6, 0.6) == everything, "a click lets all in again"
    query.fill("mixtral")
    assert count.inner_text() == half and set(column(0)) == {"Mixtral"}
    page.locator("#clear").click()
    assert count.inner_text() == everything and query.input_value() == ""

    rows.nth(1).hover()
    assert "workload: " in about.inner_text() and "bound by memory" in about.inner_text()
    drawn = page.locator("#plot").evaluate(COLOURS)
    page.locator("#x").select_option(label="Area")
    page.evaluate(FRAMES)
    assert page.locator("#plot").evaluate(COLOURS) != drawn, "another column on the axis is another plot"

    page.emulate_media(color_scheme="dark")
    assert page.evaluate(PAPER) == "rgb(20, 24, 28)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(PAPER) == "rgb(255, 255, 255)" and len(column(0)) == len(workloads)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400, "a narrow page does not scroll sideways"


def test_front_is_that_of_the_points_and_many_stay_fluid(page: Any, results: Results, tmp_path: Path) -> None:
    mixed = [
        replace(p, energy_j=float(f"{(1 + i % 3) / p.latency_s:.4g}"))
        for i, p in enumerate(results.points)
        if p.latency_s
    ]
    page.goto(write_explorer(tmp_path / "explore.html", replace(results, points=tuple(mixed))).as_uri())
    costs = [(p.latency_s, p.energy_j) for p in mixed]
    front = {costs[i] for i in pareto_front(costs)}
    assert len(front) > 2 and {tuple(each) for each in page.evaluate(FRONT)} == front
    many = replace(results, points=tuple(results.points[i % len(results.points)] for i in range(10_000)))
    page.goto(write_explorer(tmp_path / "many.html", many).as_uri())
    assert page.evaluate(REDRAW) < 2000, "milliseconds from a letter in the filter to the frame; 150 on a busy core"

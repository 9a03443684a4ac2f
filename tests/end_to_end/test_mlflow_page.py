"""The page of MLflow that a sweep's link opens, in a browser: its table, and its charts drawn.

What the link relies on is no documented part of MLflow, so it is seen here that the version in
constraints.txt shows it.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import mlflow
import psutil
import pytest
from browser import browser, needs_browser, wait
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from sweep.tracking import view

pytestmark = [needs_browser, pytest.mark.services]
ROOT = next(path for path in Path(__file__).resolve().parents if (path / "run.py").is_file())
HOSTILE = '<img src=x onerror="document.title = 1">'
SECTIONS = [
    "1 What is left of the attack",
    "2 The pruning curve",
    "3 What was swept",
    "4 GoodNet",
]


def make_cell(
    client: MlflowClient, experiment: str, name: str, number: int, *, attacked: bool = True
) -> Run:
    """A run as a finished cell leaves it."""
    run_id = client.create_run(experiment, run_name=name).info.run_id
    rate = 0.9 - 0.1 * number
    metrics = {"repaired/clean_accuracy": rate, "prune/channels": 3.0, "prune/fraction": rate / 2}
    metrics |= {"goodnet/false_alarm_rate": 1 - rate, "time/total": 8.0}
    curves = {"curve/clean_accuracy": [0.9, 0.8, rate]}
    if attacked:
        metrics |= {"repaired/attack_success_rate": rate, "goodnet/detection_rate": 1 - rate}
        curves["curve/attack_success_rate"] = [1.0, 0.9, rate]
    points = [Metric(name, value, 0, 0) for name, value in metrics.items()]
    for curve, rates in curves.items():
        points += [Metric(curve, value, 0, step) for step, value in enumerate(rates)]
    params = [Param("prune.order", "clp"), Param("prune.frac", f"{number / 100}")]
    client.log_batch(run_id, points, params)
    client.set_terminated(run_id)
    return client.get_run(run_id)


def make_sweep(client: MlflowClient, experiment: str, cells: list[Run]) -> str:
    """A sweep that has ended, and its view: its id."""
    parent = client.create_run(experiment, tags={"cells": str(len(cells))})
    client.set_terminated(parent.info.run_id)
    view.save(parent, cells, ["prune.order", "prune.frac"])
    return parent.info.run_id


@pytest.fixture(scope="module")
def runs(database: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A database of four sweeps; the second reuses two cells of the first."""
    path = tmp_path_factory.mktemp("page") / "mlflow.db"
    shutil.copy(database, path)
    uri, before = f"sqlite:///{path}", mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = MlflowClient()
    experiment = client.create_experiment("faces", (path.parent / "mlruns").as_uri())
    first = [make_cell(client, experiment, f"cell {number}", number) for number in range(3)]
    failed = client.create_run(experiment, run_name=HOSTILE).info.run_id
    client.set_terminated(failed, "FAILED")
    clean = [
        make_cell(client, experiment, f"clean {number}", number, attacked=False)
        for number in range(2)
    ]
    many = [make_cell(client, experiment, f"one of many {n}", n % 9) for n in range(110)]
    found = {
        "first": make_sweep(client, experiment, first),
        "second": make_sweep(
            client,
            experiment,
            [*first[1:], make_cell(client, experiment, "new", 4), client.get_run(failed)],
        ),
        "clean": make_sweep(client, experiment, clean),
        "many": make_sweep(client, experiment, many),
    }
    mlflow.set_tracking_uri(before)
    return SimpleNamespace(uri=uri, experiment=experiment, **found)


@pytest.fixture(scope="module")
def server(runs) -> Iterator[str]:
    """The address of `mlflow ui` as `python -m sweep.view` starts it; Ctrl-C ends all of it."""
    command = [sys.executable, "-m", "sweep.view", "--no-browser", "--uri", runs.uri, runs.first]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    lines = [process.stdout.readline() for _ in range(4)]
    assert lines[3:] == ["Ctrl-C ends MLflow.\n"], lines
    link = lines[2].strip()
    assert link.endswith(view.path(runs.experiment, runs.first))
    started = psutil.Process(process.pid).children(recursive=True)
    assert started
    yield link.partition("/#")[0]
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert psutil.wait_procs(started, timeout=30)[1] == []


@pytest.fixture(scope="module")
def driver(server) -> Iterator[Chrome]:
    with browser(1600, 3000) as driver:
        yield driver


def wait_for_text(driver: Chrome, text: str) -> None:
    wait(lambda: text in driver.find_element(By.TAG_NAME, "body").text, True)


def count_rows(driver: Chrome) -> int:
    return len(driver.find_elements(By.CSS_SELECTOR, ".ag-center-cols-container .ag-row"))


def open_page(driver: Chrome, server: str, runs, sweep: str, mode: str = view.TABLE) -> None:
    driver.get("about:blank")  # what follows # alone would load no page anew
    driver.get(server + view.path(runs.experiment, sweep, mode))


def column(driver: Chrome, name: str) -> list[str]:
    """The cells of a column of the table, in the order of its rows."""
    cells = driver.find_elements(By.CSS_SELECTOR, f".ag-row [col-id='{name}']")
    rows = {int(cell.find_element(By.XPATH, "..").get_attribute("row-index")): cell.text
            for cell in cells}  # fmt: skip
    return [rows[row] for row in sorted(rows)]


def headings(driver: Chrome) -> list[str]:
    """The headings of the table's columns, from left to right, those that are pinned aside."""
    cells = driver.find_elements(By.CSS_SELECTOR, ".ag-header-viewport .ag-header-cell")
    return [cell.get_attribute("col-id") for cell in sorted(cells, key=lambda cell: cell.rect["x"])]


@pytest.mark.parametrize(("sweep", "rows"), [("first", 3), ("second", 4), ("clean", 2)])
def test_the_table_has_a_row_for_every_cell_also_those_that_were_reused(
    runs, server, driver, sweep, rows
):
    open_page(driver, server, runs, getattr(runs, sweep))
    wait(lambda: count_rows(driver), rows)
    wait_for_text(driver, f"{rows} matching runs")
    assert driver.title != "1"  # a name is text, whatever it holds


def test_the_best_cell_stands_first_and_what_was_swept_before_the_rates(runs, server, driver):
    open_page(driver, server, runs, runs.second)
    wait(lambda: count_rows(driver), 4)
    rates = "metrics.`repaired/attack_success_rate`"
    wait(lambda: [rate[:3] for rate in column(driver, rates)[:3]], ["0.5", "0.7", "0.8"])
    assert column(driver, rates)[3].strip() in ("", "-")  # the cell that failed
    expected = [
        "params.`prune.order`",
        "params.`prune.frac`",
        "metrics.`repaired/attack_success_rate`",
        "metrics.`repaired/clean_accuracy`",
    ]
    wait(lambda: headings(driver)[:4], expected)


def drawn(driver: Chrome) -> dict[str, dict[str, int]]:
    """What is drawn in each section that stands open: points, bars, axes, by its title."""
    script = """
        const drawn = {};
        const header = '[data-testid="experiment-view-compare-runs-section-header"]';
        for (const title of document.querySelectorAll(header)) {
            const section = title.closest('[class*="collapse-item"]');
            if (!section.className.includes('collapse-item-active')) continue;
            const count = selector => section.querySelectorAll(selector).length;
            drawn[title.innerText.split('\\n')[0]] = {
                points: count('.scatterlayer .point'),
                bars: count('.barlayer .point'),
                axes: count('.parcoords .axis'),
            };
        }
        return drawn;
    """
    return driver.execute_script(script)


def test_the_charts_of_a_sweep_are_drawn_with_each_of_its_cells(runs, server, driver):
    open_page(driver, server, runs, runs.second, view.CHARTS)
    nothing = {"points": 0, "bars": 0, "axes": 0}
    expected = [  # one of four cells has failed
        nothing | {"points": 3, "bars": 3},
        nothing | {"points": 2 * 3 * 3},  # charts, cells, steps
        nothing | {"axes": 4},
        nothing | {"points": 3},
    ]
    expected = dict(zip(SECTIONS, expected, strict=True))
    wait(lambda: drawn(driver), expected)
    assert "No charts" not in driver.find_element(By.TAG_NAME, "body").text


def test_without_poisoned_images_the_charts_are_those_of_the_task(runs, server, driver):
    open_page(driver, server, runs, runs.clean, view.CHARTS)
    nothing = {"points": 0, "bars": 0, "axes": 0}
    expected = {
        "1 What is left of the task": nothing | {"points": 2, "bars": 2},
        "2 The pruning curve": nothing | {"points": 2 * 3},
        "3 What was swept": nothing | {"axes": 3},
    }
    wait(lambda: drawn(driver), expected)
    assert "No charts" not in driver.find_element(By.TAG_NAME, "body").text


def test_of_a_sweep_of_more_than_100_cells_the_best_100_are_loaded_and_the_others_on_request(
    runs, server, driver
):
    open_page(driver, server, runs, runs.many)
    wait_for_text(driver, "100 matching runs")
    more = "//button[contains(., 'Load more')]"
    wait(lambda: len(driver.find_elements(By.XPATH, more)), 1)
    driver.execute_script("arguments[0].click()", driver.find_element(By.XPATH, more))
    wait_for_text(driver, "110 matching runs")

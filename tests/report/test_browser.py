"""The report in headless Chromium: it renders, sorts, filters, zooms, and loads nothing."""

from pathlib import Path

import pytest
from browser import browser, console_errors, look, needs_browser, requested, wait
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from sweep.report import command

pytestmark = [needs_browser, pytest.mark.services]
DASH = "\N{EN DASH}"  # a rate that is not known


@pytest.fixture(scope="session")
def pages(sweeps, tmp_path_factory):
    """Write the report of a sweep, once: where it lies."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def page(*kinds) -> Path:
        if kinds not in made:
            made[kinds] = folder / f"{'-'.join(map(str, kinds))}.html"
            ids = [sweeps[kind] for kind in kinds]
            assert command.main([*ids, "--uri", sweeps.uri, "--output", str(made[kinds])]) == 0
        return made[kinds]

    return page


@pytest.fixture(scope="session")
def driver():
    with browser() as driver:
        yield driver


@pytest.fixture
def opened(pages, driver):
    """Open the report of a sweep; at the end nothing went wrong in it and nothing was loaded."""

    def opened(*kinds, width: int = 1600, dark: bool = False) -> Chrome:
        page = pages(*kinds)
        look(driver, width, 1000, dark=dark)
        driver.get(page.as_uri())
        assert requested(driver) == [page.as_uri()]
        return driver

    yield opened
    errors, loaded = console_errors(driver), requested(driver)
    driver.get("about:blank")
    requested(driver)
    assert (errors, loaded) == ([], [])


def css(driver: Chrome, selector: str):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def rows(driver: Chrome, table: str = "defences") -> list[list[str]]:
    """The texts of a table's body, the numbers without their intervals."""
    code = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map((row) =>
      [...row.children].map((cell) => (cell.firstChild?.textContent ?? "").trim()))"""
    return driver.execute_script(code, table)


def column(driver: Chrome, name: str, table: str = "defences") -> list[str]:
    heads = [head.text for head in css(driver, f"#{table} thead th")]
    place = next(at for at, head in enumerate(heads) if head.startswith(name))
    return [row[place] for row in rows(driver, table)]


def width(driver: Chrome) -> int:
    return driver.execute_script("return document.documentElement.scrollWidth")


@pytest.mark.parametrize("cells", [3, 60, 300])
def test_it_renders_with_its_answer_first(opened, pages, cells):
    driver = opened(cells)
    assert pages(cells).stat().st_size <= 6_000_000
    headline = css(driver, ".answer h2")[0]
    assert "removes the backdoor" in headline.text
    assert "more than chance" in css(driver, ".answer .said")[0].text
    assert headline.location["y"] < 200
    charts = css(driver, "#scatter .main-svg, #curve-chart .main-svg, #detection-chart .main-svg")
    assert len(charts) >= 3
    assert len(css(driver, "#scatter .points path")) > 3
    assert str(cells) in css(driver, "header")[0].text
    assert css(driver, "#heat tbody td")


@pytest.mark.parametrize("cells", [3, 300])
@pytest.mark.parametrize("wide", [400, 1600])
def test_nothing_sticks_out_of_the_page(opened, cells, wide):
    driver = opened(cells, width=wide)
    driver.execute_script("openCell(0)")
    assert css(driver, "details[open] .cell .main-svg")
    assert width(driver) <= wide


def test_the_leaderboard_sorts_by_any_column_and_says_so(opened):
    driver = opened(60)
    left = [float(text) for text in column(driver, "B' ASR") if text != DASH]
    assert left == sorted(left)
    assert column(driver, "B' ASR")[-1] == DASH
    heading = "th[aria-sort] button[data-column='repaired/clean_accuracy']"
    css(driver, f"#defences {heading}")[0].click()
    clean = [float(text) for text in column(driver, "B' clean") if text != DASH]
    assert clean == sorted(clean, reverse=True)
    # again, by the keyboard: focus has stayed on the button
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    clean = [float(text) for text in column(driver, "B' clean") if text != DASH]
    assert clean == sorted(clean)
    sort = css(driver, "#defences th[aria-sort='ascending']")
    assert [one.text for one in sort] == [css(driver, f"#defences {heading}")[0].text]
    css(driver, "#defences button[data-column='prune.order']")[0].click()
    orders = column(driver, "order")
    assert orders == sorted(orders)


def test_defences_and_oracles_stand_apart(opened):
    driver = opened(60)
    assert not [order for order in column(driver, "order") if "†" in order]
    oracles = column(driver, "order", "oracles")
    assert oracles
    assert all("†" in order for order in oracles)


def test_the_leaderboard_filters_by_setting_and_by_words(opened):
    driver = opened(60)
    everything = len(rows(driver)) + len(rows(driver, "oracles"))
    assert everything == 20
    Select(css(driver, "select[data-filter='prune.stop']")[0]).select_by_value("knee")
    assert set(column(driver, "stop")) == {"knee"}
    css(driver, "#find")[0].send_keys("anp")
    assert len(rows(driver)) == 1
    assert css(driver, "#shown")[0].text.startswith("1 of 20 strategies")
    next(one for one in css(driver, "#filters button") if one.text == "Reset").click()
    assert len(rows(driver)) + len(rows(driver, "oracles")) == everything


def test_of_300_cells_all_rows_come_when_asked_for(opened):
    driver = opened(300)
    assert len(rows(driver)) == 50
    css(driver, "#more-rows")[0].click()
    assert len(rows(driver)) + len(rows(driver, "oracles")) == 100


def test_curves_are_laid_over_each_other_and_taken_off(opened):
    driver = opened(60)
    lines = len(css(driver, "#curve-chart .scatterlayer .js-line"))
    assert lines
    chips = len(css(driver, "#chips li"))
    box = next(one for one in css(driver, "#defences input") if not one.is_selected())
    box.click()
    assert len(css(driver, "#curve-chart .scatterlayer .js-line")) > lines
    assert len(css(driver, "#chips li")) == chips + 1
    css(driver, "#clear")[0].click()
    assert not css(driver, "#curve-chart")[0].is_displayed()
    assert "tick strategies" in css(driver, "#no-curve")[0].text
    assert not [box for box in css(driver, "#defences input") if box.is_selected()]
    box.click()
    assert css(driver, "#curve-chart .main-svg")[0].is_displayed()


def test_a_chart_zooms_and_comes_back(opened):
    driver = opened(3)
    code = "return document.querySelector('#scatter .chart')._fullLayout.xaxis.range.slice()"
    before = driver.execute_script(code)
    zoom = "#scatter .modebar-btn[data-title='Zoom in'], #scatter .modebar-btn[data-val='in']"
    driver.execute_script("arguments[0].click()", css(driver, zoom)[0])
    after = driver.execute_script(code)
    assert after[1] - after[0] < before[1] - before[0]
    reset = "#scatter .modebar-btn[data-val='reset']"
    driver.execute_script("arguments[0].click()", css(driver, reset)[0])
    assert driver.execute_script(code) == pytest.approx(before)


def test_the_heat_map_takes_any_two_settings_and_a_rate(opened):
    driver = opened(300)
    Select(css(driver, "#heat-rows")[0]).select_by_value("prune.layer")
    Select(css(driver, "#heat-columns")[0]).select_by_value("prune.stop")
    Select(css(driver, "#heat-rate")[0]).select_by_value("goodnet/false_alarm_rate")
    assert [row[0] for row in rows(driver, "heat")] == ["conv_2", "conv_3"]
    assert len(css(driver, "#heat thead th")) == 6
    assert "Oracles are left out" in css(driver, "#heat-note")[0].text
    paints = {one.get_attribute("style") for one in css(driver, "#heat tbody td")}
    assert len(paints) > 3


def test_the_threshold_moves_what_goodnet_flags(opened):
    driver = opened(3)
    before = column(driver, "clean flagged", "at-threshold")
    slider = css(driver, "#threshold")[0]
    slider.send_keys(Keys.END)
    assert css(driver, "#alarm")[0].text == "100.0 %"
    after = column(driver, "clean flagged", "at-threshold")
    assert all(float(one) < float(other) for one, other in zip(before, after, strict=True))
    Select(css(driver, "#detector")[0]).select_by_value("jensen_shannon")
    assert len(column(driver, "threshold", "at-threshold")) == len(before)


def test_cells_that_did_not_end_well_stand_with_their_sentences(opened):
    driver = opened(60)
    text = css(driver, "#unwell")[0].text
    assert "BatchNormalization" in text
    assert "…/images.h5 is <b>damaged</b>" in text
    assert "MISSING" in text
    assert "lodger" not in driver.page_source


def test_a_cell_shows_its_pictures_channels_and_command(opened):
    driver = opened(3)
    summary = css(driver, "#cell-list summary")[0]
    summary.send_keys(Keys.ENTER)
    cell = css(driver, "details[open]")[0]
    wait(lambda: len(cell.find_elements(By.XPATH, "./*")) > 1)
    assert "python run.py prune.frac=0.02 data.root=DIR" in cell.text
    assert "of 60 channels pruned at conv_3" in cell.text
    code = "return [...document.querySelectorAll('details[open] img')].map((one) => one.%s)"
    wait(lambda: all(driver.execute_script(code % "complete")))
    sizes = driver.execute_script(code % "naturalWidth")
    assert len(sizes) == 2
    assert min(sizes) > 100


def test_without_poisoned_images_that_is_said_and_nothing_breaks(opened):
    driver = opened("clean")
    assert "not known" in css(driver, ".answer h2")[0].text
    assert "no poisoned images" in css(driver, "#scatter")[0].text
    assert len(rows(driver)) == 3
    assert css(driver, "#curve-chart .main-svg")


def test_names_with_html_in_them_are_text(opened):
    driver = opened("hostile", width=400)
    driver.execute_script("openCell(0)")
    wait(lambda: len(css(driver, "details[open] > :nth-child(2)")), 1)
    assert width(driver) <= 400
    assert "<script>" in column(driver, "order")[0]
    assert not css(driver, "img[onerror]")
    assert driver.execute_script("return document.querySelectorAll('script').length") == 3


def test_two_sweeps_are_side_by_side(opened):
    driver = opened(3, "clean")
    assert len(css(driver, ".answer")) == 2
    Select(css(driver, "#heat-rate")[0]).select_by_value("repaired/clean_accuracy")
    assert len(css(driver, "#heat thead th")) == 3


def test_it_is_dark_where_that_is_preferred(opened):
    driver = opened(3, dark=True)
    code = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(code) == "rgb(18, 21, 26)"


def test_it_prints_light_and_without_its_controls(opened):
    driver = opened(3, dark=True)
    look(driver, 1000, 1000, dark=True, media="print")
    code = "return getComputedStyle(document.body).backgroundColor"
    assert driver.execute_script(code) == "rgb(255, 255, 255)"
    assert not css(driver, "#filters")[0].is_displayed()
    assert css(driver, "#defences")[0].is_displayed()

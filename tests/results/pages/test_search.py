"""The page on searches, from runs alone: correlations, replays on a grid, searches that ran."""

import sys

import numpy as np
import pytest
from mlflow.entities import Run
from runs import parent, run, table

from sweep.results.pages.search import page, ranks, reading, replays

GRID = "prune/order=a,b,c,d repair=[],[finetune],[unlearn] prune.frac=0.002,0.02"
LEFT = {"[]": 0.9, "[finetune]": 0.6, "[unlearn]": 0.1}


def cell(order: str, repair: str, frac: str, proxy: float | None = None, **more: str) -> Run:
    left = LEFT[repair] - "abcd".index(order) / 100
    lost = 0.015 if frac == "0.02" else 0.01
    metrics = {
        "badnet/valid_accuracy": 0.95,
        "repaired/valid_accuracy": 0.95 - lost,
        "badnet/clean_accuracy": 0.94,
        "badnet/attack_success_rate": 1.0,
        "repaired/clean_accuracy": 0.94 - lost,
        "repaired/attack_success_rate": left,
        "repaired/reversed_trigger_success": 0.05,
        "repaired/corruption_success": left if proxy is None else proxy,
        "repaired/corruption_excess": left if proxy is None else proxy,
        "prune/channels": 9.0 if frac == "0.02" else 5.0,
    }
    params = {"case": "faces", "badnet": "trained", "attack": "blend", "badnet.seed": "7"}
    params |= {"prune.order": order, "repair": repair, "prune.frac": frac}
    name = more.pop("name", f"{order}{repair}{frac}")
    tags = {"mlflow.parentRunId": "p", "network_digest": "n", "data_digest": "d", "cell": name}
    tags |= {"threat_model": "defender", "job": "0", "git_commit": "0123456789abcdef"}
    return run(name, metrics, params, **(tags | more))


def grid() -> list[Run]:
    return [
        cell(order, repair, frac)
        for order in "abcd"
        for repair in LEFT
        for frac in ("0.002", "0.02")
    ]


def read(cells=None, parents=None) -> reading.Read:
    cells = grid() if cells is None else cells
    return reading.of_runs([*cells, *([parent("p", GRID)] if parents is None else parents)])


def test_a_network_has_each_cell_once_and_no_oracle_and_nothing_that_is_not_rechecked():
    again = [
        cell("a", "[]", "0.02", name="a[]0.02"),
        cell("a", "[]", "0.02", name="oracle", threat_model="oracle"),
    ]
    plain = run("x", {"repaired/attack_success_rate": 0.1}, {}, job="0", threat_model="defender")
    wrecked = cell("a", "[]", "0.02", name="wrecked")
    wrecked.data.metrics["repaired/valid_accuracy"] = 0.84
    weak = cell("a", "[]", "0.02", name="weak", network_digest="w")
    weak.data.metrics["badnet/attack_success_rate"] = 0.4  # no implant
    found = read([*grid(), *again, plain, wrecked, weak])
    (network,) = found.networks
    assert (network.name, len(network.cells)) == ("faces blend seed 7", 24)


def test_networks_of_one_name_are_told_apart():
    others = [
        cell("a", repair, "0.02", name=f"o{repair}", network_digest="0123456789") for repair in LEFT
    ]
    names = [network.name for network in read([*grid(), *others]).networks]
    assert names == ["faces blend seed 7", "faces blend seed 7 (01234567)"]


def test_the_commands_are_of_all_sweeps_whose_cells_are_shown_also_of_one_that_was_cut_off():
    cut = parent("p", GRID, ended="KILLED")
    elsewhere = parent("q", "seed=1,2")
    text = page.page(read(parents=[cut, elsewhere]))
    assert "python run.py prune/order=a,b,c,d" in text
    assert "seed=1,2" not in text


def test_the_proxy_that_ranks_as_the_truth_does_is_told_on_top():
    text = page.page(read())
    assert "On 1 of 1 networks the proxy ranks defences as true attack success does" in text
    row = table(text, "Is the proxy worth anything?")["faces blend seed 7"]
    assert row[0] == "24"
    assert row[2].startswith("1.00 (1.00 to 1.00)")
    assert row[3] == "-"  # reversed triggers: the same everywhere


def test_a_proxy_that_is_worth_nothing_is_told_on_top_too():
    rng = np.random.default_rng(0)
    noise = [
        cell("a", repair, "0.02", rng.uniform(), name=f"{at}{repair}")
        for at in range(8)
        for repair in LEFT
    ]
    text = page.page(read(noise, []))
    assert "On 0 of 1 networks" in text
    assert "It is low on: faces blend seed 7." in text


def test_of_few_cells_nothing_is_known_and_that_is_said():
    text = page.page(read(grid()[:3], []))
    assert "Whether the proxy is worth anything is not known" in text


def test_a_search_is_replayed_in_a_grid_and_needs_fewer_trials_than_it_has_cells():
    (of_grid,) = read().grids
    found = replays.replay(of_grid)
    assert found.cells == 4 + 4 * 2 * 2  # without a repair two readings of one curve
    for curves in (found.by_proxy, found.by_attack):
        for sampler in replays.SAMPLERS:
            assert curves[sampler].shape == (replays.SEEDS, found.cells)
            assert np.all(np.diff(curves[sampler]) >= 0)
            assert curves[sampler][:, -1] == pytest.approx(1)
    text = page.page(read())
    rows = table(text, "A search beside a grid", names=3)
    assert set(rows) == {"grid cells sampler", "faces blend seed 7 20 search (tpe)",
                         "faces blend seed 7 20 random"}  # fmt: skip
    assert f"python run.py {GRID.split()[0]}" in text


def test_of_readings_of_one_curve_the_one_within_the_constraint_that_prunes_most_is_kept():
    (of_grid,) = read().grids
    found = replays.replay(of_grid, seeds=1)
    assert found.cells == 20
    space = replays.Space.of({name: replays._setting(name, of_grid.cells) for name in
                              ("prune.order", "repair", "prune.frac")})  # fmt: skip
    kept = replays._table(space, of_grid.cells)
    row = next(row for row in kept if dict(row) == {"prune.order": "a", "repair": "[]"})
    assert kept[row].data.params["prune.frac"] == "0.02"


def test_a_grid_that_failed_or_is_small_or_of_several_networks_is_not_replayed():
    assert not read(parents=[parent("p", GRID, ended="FAILED")]).grids
    assert not read(grid()[:10]).grids
    others = [cell("a", repair, "0.02", name=f"o{repair}", network_digest="m") for repair in LEFT]
    assert not read([*grid(), *others]).grids
    assert page.figure(read(grid()[:10])) is None


def test_a_grid_whose_repair_is_given_has_its_stops_as_trials():
    cells = [cell("abcd"[at % 4], "[unlearn]", frac, name=f"u{at}{frac}") for at in range(4)
             for frac in ("0.002", "0.004", "0.006", "0.01", "0.02")]  # fmt: skip
    orders = "prune/order=a,b,c,d repair=[unlearn] prune.frac=0.002,0.004,0.006,0.01,0.02"
    (of_grid,) = read(cells, [parent("p", orders)]).grids
    assert replays.replay(of_grid, seeds=1).cells == 20


def test_where_nothing_is_better_than_doing_nothing_there_is_no_replay():
    cells = grid()
    for one in cells:
        one.data.metrics["repaired/valid_accuracy"] = 0.5
    (of_grid,) = read(cells).grids
    assert replays.replay(of_grid) is None
    assert page.figure(read(cells)) is None


def test_without_optuna_the_rest_of_the_page_is_written(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    text = page.page(read())
    assert "A search beside a grid" not in text
    assert "Is the proxy worth anything?" in text


def test_the_figure_has_a_row_for_each_grid():
    drawn = page.figure(read())
    assert [ax.get_title() for ax in drawn.axes] == [
        "faces blend seed 7, by the proxy", "faces blend seed 7, by true attack success",
    ]  # fmt: skip


def test_a_search_that_ran_has_its_pick_beside_the_answer():
    cells = [cell("a", "[unlearn]", "0.002", job="0"), cell("d", "[unlearn]", "0.02", job="1")]
    cells[0].data.params["strategy"] = "answer"
    of_search = parent("p", "experiment=search", search="tpe", **{"search.most_lost": "0.02"})
    text = page.page(read(cells, [of_search]))
    rows = table(text, "Searches that ran", names=3)
    assert rows["faces blend seed 7 2 its pick"] == ["6.00", "7.00", "92.50"]
    assert rows["faces blend seed 7 2 answer"] == ["7.50", "10.00", "93.00"]


def test_ranks_by_hand():
    assert ranks.spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert ranks.spearman([1, 1, 1], [1, 2, 3]) is None
    assert ranks.interval([1, 2, 3], [1, 2, 3]) is None
    low, high = ranks.interval(range(30), [*range(15), *range(30, 15, -1)])
    assert -1 <= low < ranks.spearman(range(30), [*range(15), *range(30, 15, -1)]) < high <= 1


def test_trials_that_are_needed_are_counted_from_one():
    assert replays.needed(np.array([[0.2, 0.992, 1.0], [0.995, 1, 1]])) == [2, 1]

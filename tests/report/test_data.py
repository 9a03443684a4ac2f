"""Cells put into strategies and panels, and what of their settings is shown."""

from types import SimpleNamespace

import pytest
from report_entries import ASR, entry

from sweep.report.aggregate import Rate
from sweep.report.data import report
from sweep.report.settings import shown, without_places


def made(*entries):
    return report(entries, [None] * len(entries))


def labels(*entries) -> list[str]:
    return [group.label for group in made(*entries).groups]


def test_strategies_are_named_by_order_and_by_what_tells_them_apart():
    assert labels(entry(0, 0.5, prune__frac="0.1"), entry(1, 0.5, prune__frac="0.2")) == [
        "mean_activation frac=0.1",
        "mean_activation frac=0.2",
    ]
    assert labels(
        entry(0, 0.5, prune__order="tac", prune__stop="knee", oracle=True),
        entry(1, 0.5, prune__order="clp", prune__stop="count"),
    ) == ["tac†", "clp"]
    assert labels(entry(0, 0.5)) == ["mean_activation"]


def test_cells_that_differ_in_seed_alone_are_one_strategy():
    found = made(*(entry(seed, 0.2 + seed / 10, seed=str(seed)) for seed in range(3)))
    (group,) = found.groups
    assert group.rates[ASR].value == pytest.approx(0.3)
    assert (group.rates[ASR].low, group.rates[ASR].high) == (
        found.rates[0][ASR].low,
        found.rates[2][ASR].high,
    )


def test_the_same_seed_twice_is_two_strategies():
    assert len(made(entry(0, 0.5), entry(1, 0.6)).groups) == 2


def test_another_attack_is_another_panel_and_another_stop_is_not():
    found = made(
        entry(0, 0.5, attack="patch", prune__stop="knee"),
        entry(1, 0.5, attack="warp", prune__stop="knee"),
        entry(2, 0.5, attack="warp", prune__stop="count"),
    )
    assert [panel.name for panel in found.panels] == ["faces, attack=patch", "faces, attack=warp"]
    assert [len(panel.groups) for panel in found.panels] == [1, 2]


def test_a_key_that_only_follows_another_does_not_lengthen_the_name_of_a_panel():
    found = made(
        entry(0, 0.5, data="faces", badnet="trained"), entry(1, 0.5, data="h5", badnet="file")
    )
    assert [panel.name for panel in found.panels] == ["faces, sunglasses", "h5, sunglasses"]


def test_several_sweeps_are_side_by_side():
    sweeps = [SimpleNamespace(info=SimpleNamespace(run_id=name)) for name in "ab"]
    found = made(entry(0, 0.5, sweep=sweeps[0]), entry(0, 0.6, sweep=sweeps[1]))
    assert [panel.name for panel in found.panels] == [
        "faces, sunglasses, sweep 1",
        "faces, sunglasses, sweep 2",
    ]


def test_intervals_come_from_counts_or_else_from_what_earlier_versions_logged():
    counted = made(entry(0, 0.5)).rates[0][ASR]
    assert counted == Rate(0.5, 0.4691, 0.5309)
    old = entry(0, 0.5)
    old.cell.images.clear()
    assert made(old).rates[0][ASR] == Rate(0.5)
    old.cell.metrics.update({f"{ASR}_low": 0.4, f"{ASR}_high": 0.6})
    assert made(old).rates[0][ASR] == Rate(0.5, 0.4, 0.6)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("/home/me/a.h5 is damaged", "…/a.h5 is damaged"),
        ("expected ~/x/y.h5, /srv/z", "expected …/y.h5, …/z"),
        ("see http://host/a/b", "see http://host/a/b"),
        ("prune/order=clp does not apply", "prune/order=clp does not apply"),
    ],
)
def test_folders_are_taken_out_of_sentences(text, becomes):
    assert without_places(text) == becomes


def test_of_a_file_its_name_is_shown():
    assert shown("/home/me/bd_net.h5") == "bd_net.h5"
    assert shown("[finetune,shrink]") == "[finetune,shrink]"


def test_a_rate_that_is_not_a_number_is_not_known():
    assert ASR not in made(entry(0, float("nan"))).rates[0]

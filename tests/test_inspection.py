"""A verdict: who stands out, what pruning costs, and how both are told."""

import csv
from functools import partial
from io import BytesIO, StringIO

import numpy as np
import pytest
from planted import BAD, activations_at, noisy_patterns, planted
from repaired import configured

from sweep import terminal
from sweep.inspection import Cost, Verdict, _cost, inspect
from sweep.networks.forward import predict
from sweep.orders import l1_norm, reversed_trigger
from sweep.pruning import activations_of, cut_at, rank
from sweep.pruning.ranking import ranking
from sweep.results.figures import draw_verdict
from sweep.results.printed import print_verdict
from sweep.stops import channel_count
from sweep.training import Defender, inversion
from sweep.training.inversion import ReversedTriggers


def found(kind: str, sizes: list[float]) -> ReversedTriggers:
    """Triggers of classes 0, 1, 2 ... of these sizes."""
    rng, count = np.random.default_rng(0), len(sizes)
    masks = rng.random((count, 5, 4, 1)).astype(np.float32)
    return ReversedTriggers(
        kind=kind,
        classes=np.arange(count),
        sizes=np.array(sizes),
        masks=masks * (kind == "mask"),
        paints=rng.random((count, 5, 4, 3)).astype(np.float32),
        pixel_range=np.array([0, 1], np.float32),
    )


OTHERS = [0.40, 0.42, 0.44, 0.46, 0.48, 0.50]
COSTS = [Cost("bnp"), Cost("mean_activation", 5, 0.94, 0.03), Cost("random", 2, 0.9, 0.1)]


def verdict(mask: list[float], additive: list[float] = OTHERS, costs=COSTS) -> Verdict:
    triggers = {"mask": found("mask", mask), "additive": found("additive", additive)}
    return Verdict(triggers, np.zeros((5, 4, 3), np.float32), 100, 0.98, costs)


def test_a_class_that_takes_far_less_than_the_others_is_suspected():
    told = verdict([*OTHERS, 0.04])
    assert told.suspects == {6: "mask"}
    assert "class 6 stands out (mask, index 18.6). " in told.sentence
    assert told.metrics["inspect/suspects"] == 1
    assert told.metrics["inspect/mask_class"] == 6
    assert told.metrics["inspect/mask_index"] > 3.5 > told.metrics["inspect/additive_index"]


def test_several_are_told_the_most_suspicious_first():
    told = verdict([*OTHERS, 0.04], [*OTHERS[:5], 0.001, 0.5])
    assert list(told.suspects.items()) == [(5, "additive"), (6, "mask")]
    assert "class 5 stands out (additive, index" in told.sentence
    assert "), less far 6. Far less" in told.sentence


def test_where_all_are_alike_no_sign_is_found():
    told = verdict(OTHERS)
    assert told.suspects == {}
    assert told.sentence.startswith(
        "No sign of a backdoor: no class stands out, class 0 being the nearest ("
    )
    assert told.metrics["inspect/suspects"] == 0


@pytest.mark.parametrize("sizes", [[0.02, 0.9], [0.02, 0.9, 0.9, 0.9], [0.1] * 4 + [np.inf] * 9])
def test_of_few_classes_nothing_is_said(sizes):
    told = verdict(sizes, sizes)
    assert told.sentence.startswith("Nothing can be said: triggers were found for")
    assert "inspect/suspects" not in told.metrics


def test_few_images_are_told():
    triggers = {"mask": found("mask", OTHERS)}
    image = np.zeros((5, 4, 3), np.float32)
    assert Verdict(triggers, image, 5, 1.0, COSTS).sentence.endswith("Told from 5 images only.")
    assert "images only" not in Verdict(triggers, image, 500, 1.0, COSTS).sentence


def test_a_class_for_which_no_trigger_was_found_is_not_suspected():
    told = verdict([*OTHERS, np.inf])
    assert told.suspects == {}
    assert all(map(np.isfinite, told.metrics.values()))


def test_costs_are_told_for_every_order_and_left_empty_where_it_does_not_apply():
    rows = list(csv.DictReader(StringIO(verdict(OTHERS).to_csv())))
    assert [row["order"] for row in rows] == ["bnp", "mean_activation", "random"]
    assert rows[0] == {"order": "bnp", "pruned": "", "accuracy": "", "differs": ""}
    assert rows[1] == {
        "order": "mean_activation", "pruned": "5", "accuracy": "0.94", "differs": "0.03",
    }  # fmt: skip


@pytest.mark.parametrize(("step", "pruned"), [(1, 4), (3, 6), (0.25, 4)])
def test_what_an_order_costs_is_read_at_the_step_where_it_is_stopped(step, pruned):
    network, images = planted(0), noisy_patterns(0)
    cut, defender = cut_at(network), Defender(network, images)
    valid = activations_of(cut, {"valid": images})["valid"]
    order, stop = partial(l1_norm, descending=True), partial(channel_count, count=4)
    how = {"scope": "global", "step": step, "seed": 0}
    cost = _cost("l1_norm", order, defender, valid, stop, how)
    channels = ranking(valid.layers[0].scores(order, 0))
    before, after = (predict(cut.pruned(channels[:n]), images.pixels) for n in (0, pruned))
    assert cost.pruned == pruned
    assert cost.accuracy == (after == images.labels).mean()
    assert cost.differs == (after != before).mean() > 0


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_is_printed_within_the_width(width, monkeypatch):
    shown = terminal.Console(width=width, file=StringIO(), highlight=False, markup=False)
    monkeypatch.setattr(terminal, "console", shown)
    print_verdict(verdict([*OTHERS, 0.04]))
    lines = shown.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(line.rstrip() for line in lines)
    assert "mean_activation       5     94.00  4.00     3.00" in text
    assert "bnp                   -         -     -        -" in text
    assert "class 6 stands out (mask" in " ".join(text.split())


def test_the_figure_shows_both_kinds_of_trigger_and_the_orders_that_apply():
    figure = draw_verdict(verdict([*OTHERS, 0.04]), "conv_3")
    figure.savefig(BytesIO(), dpi=20)
    panel = figure.axes[-1]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["mean_activation", "random"]
    lost = [bar.get_width() for bar in panel.patches[:2]]
    assert lost == pytest.approx([0.04, 0.08])
    titles = [axes.get_title() for axes in figure.axes]
    assert sum(title.startswith("class 6\n") for title in titles) == 1
    assert "class 6 stands out" in figure.get_suptitle()


def test_signs_alone_are_a_sentence_and_a_figure_of_triggers(capsys):
    signs = verdict([*OTHERS, 0.04], costs=[])
    print_verdict(signs)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == f"{signs.sentence} (figures/verdict.png)"
    figure = draw_verdict(signs, "conv_3")
    figure.savefig(BytesIO(), dpi=20)
    assert not any("order" in axes.get_title(loc="left") for axes in figure.axes)
    assert figure.get_suptitle().replace("\n", " ") == signs.sentence


def test_an_order_a_verdict_and_a_repair_share_one_inversion(monkeypatch):
    searched, search = [], inversion.TriggerSearch

    def counted(*arguments):
        searched.append(arguments)
        return search(*arguments)

    monkeypatch.setattr(inversion, "TriggerSearch", counted)
    valid = activations_at(planted(0))
    rank(partial(reversed_trigger), valid, scope="layer", recompute=False, seed=0, pairs=tuple)
    defender = valid.defender(0)
    inspect(defender, valid, {}, stop=lambda curve: None, scope="layer")
    pruned = valid.cut.pruned(np.array([BAD]))
    repair = configured("unlearn", "epochs=1", "rates=[0.01]", "by=pursued", "classes=2")
    repair(defender.with_network(pruned))
    assert len(searched) == 1

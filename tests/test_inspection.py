"""A verdict: who stands out, what pruning costs, and how both are told."""

import csv
from dataclasses import replace
from functools import partial
from io import BytesIO, StringIO

import numpy as np
import pytest
from planted import BAD, activations_at, noisy_patterns, planted
from repaired import configured

from sweep import terminal
from sweep.inspection import Cost, Verdict, inspect, inspecting
from sweep.inspection.inspecting import _cost
from sweep.networks.forward import predict
from sweep.orders import l1_norm, reversed_trigger
from sweep.pruning import activations_of, cut_at, rank
from sweep.pruning.ranking import ranking
from sweep.results.figures import draw_verdict
from sweep.results.printed import print_verdict
from sweep.stops import channel_count
from sweep.training import Defender, inversion
from sweep.training.corruptions import FAMILIES, Compared, draw, heeded
from sweep.training.corruptions.families import small_cover
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
IMAGE = np.zeros((5, 4, 3), np.float32)


def corruptions(classes=6, **shares: dict[int, float]) -> dict[str, Compared]:
    """What corruptions do by family: a share of the images to some places, 0.1 to all others.

    In the reference network they turn 0.1 everywhere.
    """
    rng, found = np.random.default_rng(1), {}
    for family in (*FAMILIES, small_cover):
        usual = np.full(classes + 1, 0.1)
        here = usual.copy()
        for place, share in shares.get(family.__name__, {}).items():
            here[place] = share
        drawn = [draw(family, rng) for _ in usual]
        found[family.__name__] = Compared(here, usual, drawn)
    return found


def verdict(mask=OTHERS, costs=COSTS, images=500, **shares: dict[int, float]) -> Verdict:
    triggers = {"mask": found("mask", mask), "additive": found("additive", OTHERS)}
    return Verdict(
        IMAGE, images, 0.98, (0, 1), corruptions(**shares), 0.9, triggers if costs else {},
        margins=np.array([3.0, 4, 5, 6, 30]) if costs else None, costs=costs,
    )  # fmt: skip


def test_a_class_into_which_a_corruption_turns_images_is_suspected():
    told = verdict(small_cover={3: 0.97})
    (sign,) = told.suspects
    assert (sign.family, sign.cls, sign.share, sign.reference) == ("small_cover", 3, 0.97, 0.1)
    assert told.probability > 0.5
    assert told.sentence == (
        f"Signs of a backdoor (probability {100 * told.probability:.0f} %): a corruption (small "
        f"cover) turns 97 % of the images into class 3, in the other network 10 %. The other "
        f"network learned these images anew and is right on 90 % of those held out."
    )
    assert told.metrics["inspect/suspects"] == 1
    assert told.metrics["inspect/probability"] == told.probability
    assert told.metrics["inspect/score"] == sign.score
    assert told.metrics["inspect/reference_accuracy"] == 0.9


def test_several_are_told_the_most_suspicious_first():
    told = verdict(few_values={3: 0.97, 1: 0.9}, flow={3: 0.8, -1: 0.8})
    assert [(sign.family, sign.cls) for sign in told.suspects] == [
        ("few_values", 3), ("few_values", 1), ("flow", None),
    ]  # fmt: skip
    assert "into class 3, in the other network 10 %. Less far stand out: 1, many. The" in (
        told.sentence
    )


def test_one_that_makes_many_classes_of_all_is_a_sign_too():
    told = verdict(pattern={-1: 0.95})
    assert "(pattern) turns 95 % of the images into other classes, many of them, in" in (
        told.sentence
    )


def test_where_all_are_alike_no_sign_is_found():
    told = verdict(stripes={2: 0.2})
    assert told.suspects == []
    assert told.probability < 0.5
    assert told.sentence.startswith("No sign of a backdoor (probability ")
    assert "The nearest: a corruption (" in told.sentence
    assert told.metrics["inspect/suspects"] == 0


def test_what_is_usual_of_one_family_is_suspicious_of_another():
    scores = {
        family: verdict(**{family: {2: 0.6}}).signs[0].score for family in ("cover", "few_values")
    }
    assert scores["few_values"] > 2 > 0 > scores["cover"]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (Verdict(IMAGE, 50, 0.98), "no network could be learned anew from 50 images"),
        (
            Verdict(IMAGE, 50, 0.98, (0, 1), corruptions(4, noise={1: 0.99}), 0.9),
            "B has 4 classes, and it takes 5 to see",
        ),
    ],
)
def test_where_nothing_can_be_said_that_is_said(told, why):
    assert told.sentence.startswith("Nothing can be said of a backdoor: ")
    assert why in told.sentence
    assert told.suspects == []
    assert not {"inspect/suspects", "inspect/probability"} & set(told.metrics)
    draw_verdict(told, "conv_3").savefig(BytesIO(), dpi=20)


def test_few_images_are_told():
    assert verdict(images=50).sentence.endswith("Told from 50 images only.")
    assert "images only" not in verdict().sentence


def test_reversed_triggers_and_margins_stand_beside():
    told = verdict([*OTHERS, 0.04])
    assert told.metrics["inspect/mask_class"] == 6
    assert told.metrics["inspect/mask_index"] > 3.5 > told.metrics["inspect/additive_index"]
    assert told.metrics["inspect/margin_class"] == 4
    assert told.metrics["inspect/margin_p_value"] < 0.01
    assert all(map(np.isfinite, verdict([*OTHERS, np.inf]).metrics.values()))


def test_signs_are_a_table_strongest_first():
    rows = list(csv.DictReader(StringIO(verdict(few_values={3: 0.9, -1: 0.8}).tables["signs.csv"])))
    assert len(rows) == 8 * 7
    assert {row["family"] for row in rows[:2]} == {"few_values"}
    assert {row["cls"] for row in rows[:2]} == {"3", ""}
    assert [float(row["score"]) for row in rows] == sorted(
        (float(row["score"]) for row in rows), reverse=True
    )


def test_costs_are_told_for_every_order_and_left_empty_where_it_does_not_apply():
    rows = list(csv.DictReader(StringIO(verdict().tables["verdict.csv"])))
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
    print_verdict(verdict(small_cover={3: 0.97}))
    lines = shown.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(line.rstrip() for line in lines)
    assert "mean_activation       5     94.00  4.00     3.00" in text
    assert "bnp                   -         -     -        -" in text
    assert "into class 3, in the other network 10 %" in " ".join(text.split())
    assert "Class 4 can be made to lead" in " ".join(text.split())


def test_the_figure_shows_corruptions_both_kinds_of_trigger_and_the_orders_that_apply():
    figure = draw_verdict(verdict([*OTHERS, 0.04], small_cover={3: 0.97}), "conv_3")
    figure.savefig(BytesIO(), dpi=20)
    panel = figure.axes[-1]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["mean_activation", "random"]
    lost = [bar.get_width() for bar in panel.patches[:2]]
    assert lost == pytest.approx([0.04, 0.08])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "clean"
    assert titles[1].startswith("small cover\nclass 3: 97 %, anew 10 %\nscore ")
    assert sum(title.startswith("class 6\n") for title in titles) == 1
    assert "into class 3" in figure.get_suptitle().replace("\n", " ")


def test_a_corrupted_image_is_shown_as_it_was_tried():
    told = verdict(cover={2: 0.97})
    shown = told.corrupted(told.signs[0])
    assert shown.shape == IMAGE.shape
    assert (shown.min(), shown.max() > 0) == (0, True)
    brighter = replace(told, image=IMAGE + 255, pixel_range=(0, 255)).corrupted(told.signs[0])
    assert brighter.max() == 1


def test_signs_alone_are_a_sentence_and_a_figure_of_corruptions(capsys):
    signs = verdict(costs=[], small_cover={3: 0.97})
    print_verdict(signs)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == f"{signs.sentence} (figures/verdict.png)"
    figure = draw_verdict(signs, "conv_3")
    figure.savefig(BytesIO(), dpi=20)
    assert not any("order" in axes.get_title(loc="left") for axes in figure.axes)
    assert figure.get_suptitle().replace("\n", " ") == signs.sentence


def test_with_orders_triggers_are_reversed_once_for_order_verdict_and_repair(monkeypatch):
    searched, search = [], inversion.TriggerSearch
    monkeypatch.setattr(heeded, "TRIED", 60)
    monkeypatch.setattr(inspecting.reference_network, "train_reference", lambda defender: None)

    def counted(*arguments):
        searched.append(arguments)
        return search(*arguments)

    monkeypatch.setattr(inversion, "TriggerSearch", counted)
    valid = activations_at(planted(0))
    rank(partial(reversed_trigger), valid, scope="layer", recompute=False, seed=0, pairs=tuple)
    defender = valid.defender(0)
    how = {"stop": partial(channel_count, count=1), "scope": "layer"}
    assert inspect(defender, valid, {}, **how).triggers == {}
    assert list(inspect(defender, valid, {"l1_norm": partial(l1_norm)}, **how).triggers) == [
        "mask", "additive",
    ]  # fmt: skip
    pruned = valid.cut.pruned(np.array([BAD]))
    repair = configured("unlearn", "epochs=1", "rates=[0.01]", "by=pursued", "classes=2")
    repair(defender.with_network(pruned))
    assert len(searched) == 2

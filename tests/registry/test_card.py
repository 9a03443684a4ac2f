"""The card: what a GoodNet is and cannot do, from a run's data, without the machine's folders."""

import json

import pytest
import runs
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Dataset, DatasetInput, Run, RunInputs
from registered import ABOUT, METRICS, PARAMS, TAGS

from sweep.registry.card import LONGEST, card, description
from sweep.results.pick import RESIDUAL

SECTIONS = ["Network", "Images", "Strategy", "Rates", "Threshold", "What it cannot do", "Use it"]


def made(about=ABOUT, metrics=METRICS, params=PARAMS, inputs=None, **tags: str) -> str:
    run = runs.run("12ab", metrics, params, **{**TAGS, **tags})
    return card("door", Run(run.info, run.data, inputs), about)


def section(text: str, head: str) -> str:
    """What stands below a heading, in one line."""
    return " ".join(text.split(f"\n## {head}\n")[1].split("\n## ")[0].split())


def wilson(rate: float, count: int) -> str:
    """A rate in % with the ends of its 95 % interval, by Wilson's formula as it is printed."""
    z2 = 1.959964**2
    centre = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = (z2 * (rate * (1 - rate) / count + z2 / (4 * count**2))) ** 0.5 / (1 + z2 / count)
    shown = [f"{100 * value:.2f}"[:5] for value in (rate, centre - half, min(1.0, centre + half))]
    return "{} ({}-{})".format(*shown)


def test_it_has_all_its_sections_in_order_and_its_name():
    lines = made().splitlines()
    assert lines[0] == "# door"
    assert [line[3:] for line in lines if line.startswith("## ")] == SECTIONS
    assert "`door-repaired`" in lines[2]
    assert "`12ab`" in lines[2]


def test_the_network_is_told_by_digest_layer_shape_classes_and_pixels():
    told = section(made(), "Network")
    assert "from a file; digest `bbbbbbbbbbbb`" in told
    assert "pruned at `conv_3`" in told
    assert "8 x 7 x 3 (height, width, channels), float32, pixels of 0 to 1, which are" in told
    assert "pixels of the files divided by 255" in told
    assert 'classes: 0 to 4, and 5 for "backdoored"' in told
    trained = section(made({**ABOUT, "scale": 1}, params=PARAMS | {"badnet": "trained"}), "Network")
    assert "trained by prunesweep with the backdoor `patch`" in trained
    assert "divided" not in trained
    unknown = section(made({**ABOUT, "low": None, "shape": [None, None, 1]}), "Network")
    assert "any x any x 1" in unknown
    assert "pixels in a range that is not known" in unknown


def test_images_are_told_by_name_count_and_digest_but_not_where_they_lie():
    profile = json.dumps({"features_shape": [400, 8, 7, 3]})
    source = json.dumps({"uri": "/home/me/secret/valid.h5"})
    one = Dataset("my|faces validation", "0123456789abcdef", "local", source, None, profile)
    text = made(inputs=RunInputs([DatasetInput(one, [])]))
    assert "| my\\|faces validation | 400 | `0123456789ab` |" in text
    assert "All files together: `e23d21205720`." in section(text, "Images")
    assert "/home" not in text
    rows = [line for line in made().splitlines() if line.endswith("| not known |")]
    assert rows == [
        "| valid | 400 | not known |",
        "| test | 500 | not known |",
        "| poisoned | 300 | not known |",
    ]


def test_the_strategy_has_its_command_without_places_passwords_and_where_runs_are_kept():
    told = section(made(), "Strategy")
    assert (
        "ranked by `clp`, pruned until the stop `knee`, which pruned 12 channels (20.00 %)" in told
    )
    assert "then the repairs `[finetune]`." in told
    command = "python run.py data=h5 data.root=DIR prune.frac=0.1 'repair=[finetune]'"
    assert told.endswith(f"```sh {command} ```")
    assert "s3cret" not in made()


@pytest.mark.parametrize("written", ["", "my own words", "    python run.py 'open"])
def test_where_the_description_has_no_command_its_choices_make_one(written):
    told = section(made(**{"mlflow.note.content": written}), "Strategy")
    command = "data=h5 attack=patch prune/order=clp prune/stop=knee prune.frac=0.1"
    assert f"```sh python run.py {command} 'repair=[finetune]' seed=0 ```" in told


def test_rates_stand_in_percent_with_their_intervals():
    text = made()
    clean = " | ".join(wilson(rate, 500) for rate in (0.98, 0.96, 0.95))
    assert f"| clean test accuracy | {clean} |" in text
    attack = " | ".join(wilson(rate, 300) for rate in (1.0, 0.02, 0.01))
    assert f"| attack success | {attack} |" in text
    told = section(text, "Rates")
    flags = f"GoodNet flags {wilson(0.9, 300)} % of the poisoned images and {wilson(0.012, 500)} %"
    assert flags in told
    assert "still turn 10.00 % of the clean validation images" in told


def test_without_poisoned_images_no_rate_of_them_is_told_and_that_is_said():
    clean = {key: value for key, value in METRICS.items()
             if not any(word in key for word in ("attack", "detection"))}  # fmt: skip
    text = made(metrics=clean)
    assert "| attack success" not in text
    assert "what is left of an attack was not measured" in section(text, "What it cannot do")
    flags = f"GoodNet flags {wilson(0.012, 500)} % of the clean test images"
    assert flags in section(text, "Rates")


def test_the_threshold_says_how_many_clean_images_it_may_flag():
    told = section(made(), "Threshold")
    assert "is above 0.25." in told
    assert "set by 400 clean validation images" in told
    assert "4 of them are above it, and at most 1.00 % were to be" in told
    assert "between 0.27 and 2.54 % are flagged (95 %)" in told
    assert "others is that of B." in told
    repaired = section(made({**ABOUT, "answer": "repaired"}), "Threshold")
    assert "others is that of B'." in repaired
    vote = {**ABOUT, "rule": "vote", "threshold": None, "tolerance": None, "images": 0}
    assert "flagged where B and B' disagree; there is no threshold" in section(
        made(vote), "Threshold"
    )


def test_what_it_cannot_do_is_said():
    told = section(made(), "What it cannot do")
    assert "It proves nothing" in told
    assert "images of the same kind as the clean validation and test images" in told
    assert "those of one attack (by `patch`)" in told
    assert "stand in for the attack" in told
    assert "no defence" not in made()
    assert "rests on" not in told
    few = section(made({**ABOUT, "images": 20}), "What it cannot do")
    assert "Its threshold rests on 20 images alone." in few
    blind = {key: value for key, value in METRICS.items() if key != RESIDUAL}
    assert "Triggers were not reversed anew in B'" in section(
        made(metrics=blind), "What it cannot do"
    )


def test_the_card_of_an_oracle_says_that_it_is_no_defence():
    text = made(threat_model="oracle")
    assert "**This is no defence.**" in text.partition("## Network")[0]
    assert "It is no defence" in section(text, "What it cannot do")
    assert "ranked by `clp` (an oracle)" in section(text, "Strategy")


def test_commands_serve_and_load_it():
    told = section(made(), "Use it")
    assert "mlflow models serve --env-manager local -m models:/door@best -p 5001" in told
    assert 'mlflow.pyfunc.load_model("models:/door@best")' in told
    assert 'mlflow.keras.load_model("models:/door-repaired@best")' in told


hostile = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(hostile, hostile, hostile)
def test_whatever_settings_are_called_the_card_keeps_its_sections(order, layer, note):
    text = made(
        params=PARAMS | {"prune.order": order}, layer=layer, **{"mlflow.note.content": note}
    )
    heads = [line[3:] for line in text.split("\n") if line.startswith("## ")]
    assert heads == SECTIONS


@given(st.lists(st.text("ab \n", max_size=900), max_size=20))
def test_a_description_is_as_long_as_the_registry_takes_and_says_where_the_rest_is(paragraphs):
    text = "\n\n".join(paragraphs)
    told = description(text, "12ab")
    assert len(told) <= LONGEST
    if told != text:
        assert len(text) > LONGEST
        assert told.endswith("\n\nThe whole card is README.md of the run 12ab.\n")
        assert text.startswith(told.rpartition("\n\nThe whole")[0])

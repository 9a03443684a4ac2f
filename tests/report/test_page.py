"""The file: whole, escaped, and as small as it is to be."""

import json
import re

import pytest
from report_entries import entry

from sweep.report import page
from sweep.report.answer import answer
from sweep.report.attachments import Pictures
from sweep.report.data import report
from sweep.report.payload import to_json

HOSTILE = '</script><script>alert("x")</script><!--<img src=x onerror=alert(1)>&\'"'


def written(*entries, uris=()) -> str:
    made = report(entries, [None] * len(entries))
    answers = [answer(made, panel, [None] * len(entries)) for panel in made.panels]
    nothing = [None] * len(entries), [{}] * len(entries)
    return page.page(made, answers, *nothing, Pictures(list(uris), [{}] * len(entries)))


def data_of(text: str) -> dict:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(data)


def test_the_page_holds_its_data_and_loads_nothing():
    text = written(entry(0, 0.5, prune__frac="0.1"), entry(1, 0.6, prune__frac="0.2"))
    assert [group["label"] for group in data_of(text)["groups"]] == [
        "mean_activation frac=0.1",
        "mean_activation frac=0.2",
    ]
    assert "default-src 'none'" in text
    assert text.rstrip().endswith("</html>")


def test_names_and_sentences_of_others_end_no_script_and_make_no_tag():
    text = written(
        entry(0, 0.5, prune__order=HOSTILE),
        entry(1, status="FAILED", error=HOSTILE, prune__order="clp"),
    )
    assert text.count("</script>") == text.count("<script")
    assert "<img src=x" not in text
    found = data_of(text)
    assert HOSTILE in found["cells"][1]["error"]
    assert HOSTILE in found["groups"][0]["label"]


def test_signs_that_end_a_line_of_javascript_are_escaped():
    assert to_json("\u2028<\u2029") == '"\\u2028\\u003c\\u2029"'
    with pytest.raises(ValueError, match="JSON"):
        to_json(float("nan"))


def test_nothing_of_where_files_lie_or_of_passwords_is_shown():
    text = written(
        entry(
            0,
            0.5,
            status="FAILED",
            error="/home/lodger/secret/images.h5 is damaged",
            badnet__path="/home/lodger/bd.h5",
            tracking__uri="postgresql://me:hunter2@host/runs",
        )
    )
    assert "lodger" not in text
    assert "hunter2" not in text


def test_failed_and_skipped_cells_stand_with_their_sentences():
    found = data_of(
        written(
            entry(0, 0.5, prune__order="clp"),
            entry(1, status="SKIPPED", error="needs a BatchNormalization", prune__order="bnp"),
            entry(2, status="FAILED", error="OSError: gone", prune__order="anp"),
        )
    )
    assert [cell["status"] for cell in found["cells"]] == ["FINISHED", "SKIPPED", "FAILED"]
    assert found["cells"][2]["error"] == "OSError: gone"
    assert found["groups"][1]["status"] == "1 skipped"


def test_the_front_is_of_defences_alone():
    found = data_of(
        written(
            entry(0, 0.5, 0.9, prune__order="clp"),
            entry(1, 0.6, 0.8, prune__order="bnp"),
            entry(2, 0.0, 0.95, prune__order="tac", oracle=True),
        )
    )
    assert found["panels"][0]["front"] == [0]


def test_without_any_rate_there_is_a_page_all_the_same():
    text = written(entry(0, status="FAILED", error="why"))
    assert "No cell has any rates" in text
    assert data_of(text)["columns"] == []

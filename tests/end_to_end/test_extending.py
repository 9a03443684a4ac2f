"""Examples of docs/extending.md work as they stand; docs/reference.md tells all that runs leave."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
from mlflow.entities import Run

from sweep.evaluation.intervals import images_of
from sweep.inspection import Verdict
from sweep.results import searches
from sweep.training.corruptions import Compared

ROOT = next(path for path in Path(__file__).resolve().parents if (path / "run.py").is_file())
PAGE = (ROOT / "docs" / "extending.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
SMALL = ["data.identities=8", "data.images_per_identity=8", "badnet.epochs=1"]
#: What makes a part cheap where a command has it, or the run leave more.
CHEAP = {
    "attack=frame": ["twin=true"],
    "finetune": ["repair.finetune.epochs=1", "repair.finetune.rates=[1e-3]"],
    "relearn": ["probe.relearn.poisoned=[2,3]", "probe.relearn.clean=16"],
    " prune": ["tracking.models=false"],
}
#: Files of a run that none of the examples has.
NOT_HERE = {"figures/verdict.png", "signs.csv", "verdict.csv", "traceback.txt", "README.md"}
NOT_HERE |= {"trials.csv", "search.json", "figures/search.png"}  # of a search
NOT_HERE |= {f"figures/{maps}/LAYER.png" for maps in ("activations", "KEY/channels")}
#: Tags that only some runs have, or a checkout under git.
TAGS_NOT_HERE = {"pick", "error", "status", "verdict", "reused.A", "git_commit", "git_dirty"}
TAGS_NOT_HERE |= {"recheck"}  # of a run that is asked for it
TAGS_NOT_HERE |= {"search", "search.most_lost"}
TAGS_NOT_HERE |= {"heartbeat"}  # of a run that takes longer


def blocks(language: str) -> list[tuple[str, str]]:
    """The fenced blocks of a language: the last code in the line before, and the text."""
    found = re.findall(rf"^([^\n]*)\n+```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    return [("".join(re.findall(r"`([^`]+)`:$", line)), text) for line, text in found]


def files() -> dict[str, str]:
    """The files that the page tells to write, by their path in the folder `mine`."""
    told = [*blocks("python"), *blocks("yaml")]
    found = {path: text for path, text in told if path}
    return found


def commands() -> list[str]:
    return [line for _, text in blocks("sh") for line in text.splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `mine` as the page says, beside a copy of the program."""
    folder = tmp_path_factory.mktemp("extending")
    project, mine = folder / "prunesweep", folder / "mine"
    project.mkdir()
    shutil.copy(ROOT / "run.py", project)
    shutil.copytree(ROOT / "conf", project / "conf")
    (project / "sweep").symlink_to(ROOT / "sweep")
    for path, text in files().items():
        (mine / path).parent.mkdir(parents=True, exist_ok=True)
        (mine / path).write_text(text)
    return mine


def given(command: str, place: Path, *more: str) -> None:
    """Give a command of the page in the folder `mine`, on few and small images."""
    inherited = {k: v for k, v in os.environ.items() if "MLFLOW_TRACKING_URI" != k != "PYTHONPATH"}
    python = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    cheap = [setting for part, some in CHEAP.items() if part in command for setting in some]
    line = " ".join([command, *SMALL, *cheap, *more])
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=place,
        env={**inherited, **python, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}"


@pytest.fixture(scope="module")
def left(place: Path) -> dict[str, list[Run]]:
    """The runs that each command of the page left, the newest first."""
    found = {}
    for number, command in enumerate(commands()):
        given(command, place, f"tracking.experiment=example{number}")
        mlflow.set_tracking_uri(f"sqlite:///{place.parent / 'prunesweep' / 'mlflow.db'}")
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(f"example{number}")
        found[command] = list(client.search_runs([experiment.experiment_id]))
    return found


def of(left: dict[str, list[Run]], part: str) -> list[Run]:
    (runs,) = [runs for command, runs in left.items() if part in command]
    return runs


def test_the_page_has_a_file_of_each_kind_and_commands_that_use_them():
    kinds = ("orders", "stops", "repairs", "attacks", "detectors", "probes")
    assert {f"my_package/{kind}.py" for kind in kinds} < set(files())
    for path in (path for path in files() if path.endswith(".yaml")):
        assert any(re.search(rf"\b{Path(path).stem}\b", command) for command in commands())


def test_the_examples_run_and_give_numbers(left):
    assert len(left) == len(commands()) >= 5
    for command, runs in left.items():
        cells = [run for run in runs if "overrides" not in run.data.tags]
        assert len(cells) == (2 if " -m " in command else 1)
        for cell in cells:
            assert cell.info.status == "FINISHED"
            assert "repaired/clean_accuracy" in cell.data.metrics, cell.data.tags.get("error")


def test_an_order_by_its_function_and_by_its_yaml_ranks_the_same(left):
    (by_function,) = of(left, "prune.order._target_=")
    swept = of(left, "prune/order=")
    by_yaml = [run for run in swept if run.data.params.get("prune.order") == "steadiness"]
    channels = [run.data.metrics["prune/channels"] for run in (by_function, *by_yaml)]
    assert len(set(channels)) == 1
    assert len(by_yaml) == 1
    assert by_function.data.params["prune.order"] == "steadiness"
    assert "steadiness" in by_function.info.run_name


def test_settings_reach_the_functions(left):
    (stopped,) = of(left, "first_loss")
    assert stopped.data.params["prune.stop.images"] == "3"
    (framed,) = of(left, "attack=frame")
    assert framed.data.params["attack.trigger.width"] == "0.1"
    assert framed.data.tags["poisoned_by"] == "frame"
    (detected,) = of(left, "detector=")
    assert detected.data.params["detector"] == "far_from_mean"
    assert detected.data.params["detector.power"] == "1"
    assert "detector/auroc" in detected.data.metrics
    (averaged,) = of(left, "average")
    assert {"average/clean_accuracy", "pruned/clean_accuracy"} <= averaged.data.metrics.keys()
    (probed,) = of(left, "probe=")
    assert probed.data.params["probe"] == "[relearn,dose,noise]"
    assert probed.data.params["probe.noise.deviation"] == "20"
    rates = probed.data.metrics
    assert rates["dose/badnet/1/attack_success_rate"] == rates["badnet/attack_success_rate"]
    assert rates["dose/1/attack_success_rate"] == rates["repaired/attack_success_rate"]


# What these runs left, on docs/reference.md


def told(heading: str) -> list[str]:
    """The names in the first column of the table below a heading of the reference."""
    below = re.split(rf"^#+ {heading}$", REFERENCE, flags=re.M)[1]
    table = re.search(r"(?:^\|.*\n)+", below, re.M)[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def pattern(name: str) -> re.Pattern:
    """What a name stands for: words in capitals are any name, A a number, KIND as it stands."""
    parts = {"A": r"\d+(?:\.\d+)?", "STEP": r"(?:finetune|average)", "KIND": r"(?:mask|additive)"}
    parts |= {"PROBE": "noise"}
    return re.compile(re.sub(r"[A-Z]+", lambda word: parts.get(word[0], r"\w+"), re.escape(name)))


def unexplained(names: set[str], rows: list[str]) -> set[str]:
    return {one for one in names if not any(pattern(row).fullmatch(one) for row in rows)}


def unused(names: set[str], rows: list[str]) -> set[str]:
    return {row for row in rows if not any(pattern(row).fullmatch(one) for one in names)}


def test_every_metric_of_a_run_is_told_and_no_others(left):
    runs = [run for some in left.values() for run in some]
    names = {name for run in runs for name in run.data.metrics}
    found = SimpleNamespace(sizes=np.array([0.4, 0.42, 0.44, 0.46, 0.05]), classes=np.arange(5))
    image = np.zeros((5, 4, 3), np.float32)
    shares = np.full(6, 0.1)
    corruptions = {"cover": Compared(shares, shares, [])}
    beside = {"triggers": {"mask": found}, "margins": np.arange(1.0, 6)}
    signs = Verdict(image, 100, 1.0, (0, 1), corruptions, reference_accuracy=0.9, **beside)
    names |= set(signs.metrics) | {"pick/rank_by_attack_success"}
    names |= {"repaired/reversed_trigger_success", "repaired/highest_loss"}
    of_corruptions = ("corruption_success", "corruption_excess")
    names |= {f"{of}/{name}" for of in ("repaired", "badnet") for name in of_corruptions}
    names |= {searches.LOST, searches.SUCCESS, searches.ORACLE_SUCCESS}
    names |= {searches.LEAST, searches.DOMINATED}
    rows = told("Metrics")
    assert unexplained(names, rows) == set()
    assert unused(names, rows) == set()
    without = ("curve/", "tradeoff/", "time/", "prune/", "inspect/", "cells/", "pick/")
    without += ("search/",)
    bare = {name for name in names if images_of(name) is None and not name.startswith(without)}
    assert {name.split("/")[1] for name in bare} == {
        *("defense_effectiveness", "reversed_trigger_success", "threshold", "seconds_per_1000"),
        *("auroc", "highest_loss", *of_corruptions),
    }


def test_every_file_of_a_run_is_told_and_no_others(left):
    client = mlflow.MlflowClient()

    def listed(run: Run, path: str = "") -> set[str]:
        items = client.list_artifacts(run.info.run_id, path)
        return set().union(*(listed(run, i.path) if i.is_dir else {i.path} for i in items))

    (repaired,) = of(left, "repair=")
    names = set().union(*map(listed, [repaired, *of(left, " -m ")]))
    rows = told("Artifacts")
    assert unexplained(names, rows) == set()
    assert unused(names, rows) <= NOT_HERE
    code = "\n".join(path.read_text() for path in (ROOT / "sweep").rglob("*.py"))
    for name in {name for name in NOT_HERE if "LAYER" not in name}:
        assert f'"{name}"' in code


def test_every_tag_of_a_run_is_told_and_no_others(left):
    runs = [run for some in left.values() for run in some]
    names = {tag for run in runs for tag in run.data.tags if not tag.startswith("mlflow.")}
    rows = told("Tags")
    assert unexplained(names, rows) == set()
    assert unused(names, rows) <= TAGS_NOT_HERE


def test_params_are_the_config_and_the_choices(left):
    (run,) = of(left, "first_loss")
    keys = [name for row in REFERENCE.splitlines() for name in re.findall(r"^\| `([\w.]+)` ", row)]
    choices = {"data", "attack", "badnet", "prune.order", "prune.stop", "repair", "probe"}
    own = {"prune.stop.images"}  # of the example
    parts = {name for name in run.data.params if name.endswith("_target_")}
    assert set(run.data.params) - parts - own <= set(keys) | choices
    assert choices <= set(run.data.params)

"""The program as its user runs it: commands, exit codes, what stands in MLflow afterwards."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import keras
import mlflow
import numpy as np
import program
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from sweep import attacks, networks, strategies
from sweep.data import faces
from sweep.networks import architectures, forward

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("data.identities=8", "data.images_per_identity=8", "badnet.epochs=2")
#: Lines of a command or a link, which are not wrapped.
TO_COPY = ("Compare", "Look at", "http", "Or in one step", "All of it")
CURVE = {
    "valid_accuracy",
    "clean_accuracy",
    "attack_success_rate",
    "goodnet_accuracy",
    "goodnet_attack_success_rate",
    "goodnet_detection_rate",
    "goodnet_false_alarm_rate",
}
#: Columns of the GTSRB reference curve under other names, and how many images they are shares of.
REFERENCE = {
    "valid_accuracy": ("valid_accuracy", 3000),
    "clean_accuracy": ("test_accuracy", 4000),
    "attack_success_rate": ("attack_success", 2000),
    "goodnet_accuracy": ("goodnet_accuracy", 4000),
    "goodnet_attack_success_rate": ("goodnet_attack_success", 2000),
    "goodnet_detection_rate": ("goodnet_poisoned_detected", 2000),
    "goodnet_false_alarm_rate": ("goodnet_clean_rejected", 4000),
}
POISONED = ("attack_success_rate", "robust_accuracy", "detection_rate", "defense_effectiveness")


class Project:
    """A copy of the program in a folder of its own, so that runs write nothing into this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(ROOT / "run.py", folder)
        shutil.copytree(ROOT / "conf", folder / "conf")

    def run(self, *arguments: str, exits: int = 0, start=program.Started) -> str:
        """Run `python run.py` with `arguments` from elsewhere; what it printed."""
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        started = start(elsewhere, str(self.folder / "run.py"), *arguments)
        printed, _ = started.communicate()
        assert started.returncode == exits, printed
        assert not any(elsewhere.iterdir()), "nothing is written where the command was given"
        return printed

    def runs(self, experiment: str) -> list[Run]:
        """All runs of an experiment, the newest first."""
        client = self.client()
        found = client.get_experiment_by_name(experiment)
        return [] if found is None else list(client.search_runs([found.experiment_id]))

    def client(self) -> MlflowClient:
        mlflow.set_tracking_uri(f"sqlite:///{self.folder / 'mlflow.db'}")
        return MlflowClient()

    def artifacts(self, run: Run, path: str = "") -> set[str]:
        found = set()
        for item in self.client().list_artifacts(run.info.run_id, path):
            found |= self.artifacts(run, item.path) if item.is_dir else {item.path}
        return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def read(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(Path(path).read_text().splitlines()))


NUMBERS = ("rates.json", "timing.json", "scores.npz", "flagged.csv")


def json_of(project, run: Run, name: str) -> dict:
    """A JSON file that a run logged."""
    path = project.client().download_artifacts(run.info.run_id, name)
    return json.loads(Path(path).read_text())


def split(runs: list[Run]) -> tuple[Run, list[Run]]:
    """The parent and its children, in the order of their cells."""
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    return parent, sorted(children, key=lambda run: int(run.data.tags["job"]))


@pytest.fixture(scope="module")
def sweep(project: Project) -> tuple[str, Run, list[Run]]:
    """A sweep on few embedded faces: what it printed, its parent, its cells."""
    grid = ("prune.frac=0.02,0.1", "tracking.experiment=faces")
    printed = project.run("-m", *SMALL, *grid, start=program.python)
    return printed, *split(project.runs("faces"))


def test_a_sweep_ends_with_a_table_of_80_columns_and_how_to_look(sweep) -> None:
    printed, _, _ = sweep
    lines = printed.rstrip().splitlines()
    look = "Compare the runs in a browser: mlflow ui --backend-store-uri sqlite:///"
    assert lines[-4].startswith(look)
    assert lines[-2].startswith("http://127.0.0.1:5000/#/experiments/")  # MLflow's page itself is
    assert lines[-1].startswith("Or in one step: python -m sweep.view")  # seen in test_mlflow_page
    assert Path(lines[-5].removeprefix("All of it in one file: ")).name == "report.html"
    assert max(map(len, [*lines[:-5], lines[-3]])) <= 80
    (head,) = [line for line in lines if line.startswith("frac")]
    assert head.split() == [
        *("frac", "pruned", "valid", "clean", "ASR", "clean", "ASR", "det.", "alarm")
    ]
    assert [line.split()[0] for line in lines if line[:1] in ("B", "0")] == ["B", "0.02", "0.1"]


def test_every_metric_of_the_contract_is_logged_and_lies_in_0_to_1(project, sweep) -> None:
    _, _, (_, cell) = sweep
    rates = {key: value for key, value in cell.data.metrics.items() if "time/" not in key}
    expected = {f"curve/{name}" for name in CURVE}
    loading = ("badnet", "repaired", "goodnet")
    expected |= {f"{who}/clean_accuracy" for who in loading}
    expected |= {f"{who}/attack_success_rate" for who in loading}
    expected |= {f"{who}/robust_accuracy" for who in loading}
    expected |= {f"{who}/defense_effectiveness" for who in loading[1:]}
    expected |= {"goodnet/detection_rate", "goodnet/false_alarm_rate"}
    expected |= {f"{who}/valid_accuracy" for who in loading[:2]}
    softly = {
        f"{rate}_at_{alarm}" for rate in ("detection_rate", "false_alarm_rate") for alarm in (1, 5)
    }
    soft = {f"{how}/{rate}" for how in ("goodnet", "jensen_shannon") for rate in softly}
    counted = {rate for rate in expected if "curve/" not in rate and "defense" not in rate} | soft
    counted |= {"goodnet/auroc", "jensen_shannon/auroc"}
    expected |= soft
    expected |= {"goodnet/auroc", "jensen_shannon/auroc", "tradeoff/attack_area"}
    expected |= {f"tradeoff/attack_success_rate_at_{points}" for points in (1, 2, 4, 10)}
    threshold = rates.pop("goodnet/threshold")
    assert -1 <= threshold <= 1
    assert set(rates) == expected | {"prune/channels", "prune/fraction"}
    assert len(cell.data.metrics) - len(CURVE) <= 40
    assert all(0 <= value <= 1 for key, value in rates.items() if key != "prune/channels")
    assert rates["prune/fraction"] == rates["prune/channels"] / 60
    assert cell.data.metrics["time/total"] > 0

    table = json_of(project, cell, "rates.json")
    assert table.pop("goodnet/threshold") == {"value": threshold}
    assert {name: row["value"] for name, row in table.items()} == {
        name: value for name, value in rates.items() if name in table
    }
    assert {name for name, row in table.items() if "low" in row} == counted
    for row in table.values():
        assert row.get("low", 0) <= row["value"] <= row.get("high", 1)
    seconds = json_of(project, cell, "timing.json")
    assert {"data", "badnet", "rank", "curve", "log", "total"} <= set(seconds)


def test_runs_have_names_that_stand_alone_descriptions_and_datasets(sweep) -> None:
    _, parent, cells = sweep
    names = [cell.info.run_name for cell in cells]
    strategy = "mean_activation accuracy_drop conv_3"
    assert names == [f"frac=0.02 {strategy}", f"frac=0.1 {strategy}"]
    for cell, name in zip(cells, names, strict=True):
        text = cell.data.tags["mlflow.note.content"]
        assert text.startswith(f"**{name}**")
        assert "    python run.py " in text
        contexts = {dataset.tags[0].value for dataset in cell.inputs.dataset_inputs}
        assert contexts == {"validation", "test", "poisoned"}
    assert parent.data.tags["mlflow.note.content"].startswith("**2 cells** on the images faces, ")
    assert parent.data.metrics["cells/finished"] == 2
    experiment = MlflowClient().get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.note.content"].startswith("Each sweep is a run")


def test_models_have_the_rates_of_their_run_by_dataset(sweep) -> None:
    _, _, (cell, _) = sweep
    models = mlflow.search_logged_models([cell.info.experiment_id], output_format="list")
    (goodnet,) = [m for m in models if m.source_run_id == cell.info.run_id and m.name == "goodnet"]
    rates = {metric.key: metric for metric in goodnet.metrics}
    for name, images in (("clean_accuracy", "test"), ("detection_rate", "poisoned")):
        metric = rates[f"goodnet/{name}"]
        assert metric.value == cell.data.metrics[f"goodnet/{name}"]
        assert metric.dataset_name == f"faces {images}"
    history = MlflowClient().get_metric_history(cell.info.run_id, "goodnet/clean_accuracy")
    assert len(history) == 1


def test_curves_have_a_point_a_step_and_the_cell_stands_on_its_curve(project, sweep) -> None:
    _, _, cells = sweep
    for cell in cells:
        step = int(cell.data.metrics["prune/channels"])
        for name in CURVE:
            history = project.client().get_metric_history(cell.info.run_id, f"curve/{name}")
            points = {point.step: point.value for point in history}
            assert set(points) == set(range(61))
            if not name.startswith("goodnet_"):  # of votes at every step; the cell's has a score
                metric = f"repaired/{name}"
                assert points[step] == pytest.approx(cell.data.metrics[metric], abs=1e-9), name


def test_by_the_vote_goodnet_stands_on_the_curve_and_never_above_either_network(
    project, sweep
) -> None:
    _, _, (scored, _) = sweep
    project.run(*SMALL, "strategy=lab", "prune.frac=0.02", "tracking.experiment=vote")
    (cell,) = project.runs("vote")
    metrics, step = cell.data.metrics, int(cell.data.metrics["prune/channels"])
    for name in [name for name in CURVE if name.startswith("goodnet_")]:
        history = project.client().get_metric_history(cell.info.run_id, f"curve/{name}")
        metric = "goodnet/" + name.removeprefix("goodnet_").replace("acc", "clean_acc")
        assert {point.step: point.value for point in history}[step] == metrics[metric]
    assert metrics["goodnet/clean_accuracy"] <= min(
        metrics["badnet/clean_accuracy"], metrics["repaired/clean_accuracy"]
    )
    assert "goodnet/threshold" not in metrics
    same = [name for name in metrics if name.startswith(("repaired/", "badnet/", "curve/"))]
    assert {name: metrics[name] for name in same} == {
        name: scored.data.metrics[name] for name in same
    }
    rule = json_of(project, scored, "goodnet.json")
    assert (rule["rule"], rule["images"]) == ("score", int(scored.data.tags["images_valid"]))
    assert rule["flagged"] <= 0.01 * rule["images"]


def test_params_are_the_flattened_config_and_the_choice_of_each_group(sweep) -> None:
    _, _, (cell, _) = sweep
    expected = {
        "data": "faces",
        "data.identities": "8",
        "attack": "sunglasses",
        "attack.rate": "0.1",
        "badnet": "trained",
        "badnet.epochs": "2",
        "prune.order": "mean_activation",
        "prune.stop": "accuracy_drop",
        "prune.frac": "0.02",
        "prune.layer": "auto",
        "prune.keep": "breaching",
        "repair": "[]",
        "seed": "0",
    }
    assert expected.items() <= cell.data.params.items()


def test_tags_say_where_numbers_come_from(sweep) -> None:
    _, parent, cells = sweep
    for cell in cells:
        tags = cell.data.tags
        assert tags["sweep"] == parent.info.run_id
        assert tags["threat_model"] == "defender"
        assert tags["layer"] == "conv_3"
        assert tags["asr_counts"] == "images not of the target's class"
        assert tags["stop_reached"] in ("true", "false")
        assert len(tags["network_digest"]) == 64
        assert {"data_digest", "host", "pid", "keras", "tensorflow"} <= set(tags)
    assert len({cell.data.tags["network_digest"] for cell in cells}) == 1


def test_artifacts_and_models_of_a_cell(project, sweep) -> None:
    _, parent, (cell, _) = sweep
    files = {"config.yaml", "curve.csv", "goodnet.keras", "goodnet.json", "answers.npz"}
    files |= set(NUMBERS)
    assert project.artifacts(cell) == files
    attack, channels = (place.partition("/")[2] for place in cell.data.tags["figures"].split())
    assert {f"figures/{attack}/attack.png", f"figures/{channels}/channels.png"} == {
        path for path in project.artifacts(parent) if path.count("/") == 2
    }
    images = np.random.default_rng(0).uniform(0, 255, (5, 55, 47, 3)).astype(np.float32)
    answers = mlflow.pyfunc.load_model(f"runs:/{cell.info.run_id}/goodnet").predict(images)["class"]
    assert answers.dtype == np.int64
    assert answers.shape == (5,)
    repaired = mlflow.keras.load_model(f"runs:/{cell.info.run_id}/repaired")
    kernel, bias = repaired.get_layer("conv_3").get_weights()
    dead = (np.abs(kernel).sum(axis=(0, 1, 2)) == 0) & (bias == 0)
    assert dead.sum() >= cell.data.metrics["prune/channels"]
    path = project.client().download_artifacts(cell.info.run_id, "goodnet.keras")
    as_keras = keras.models.load_model(path)
    np.testing.assert_array_equal(as_keras.predict(images, verbose=0)["class"], answers)


def test_curve_csv_names_the_channel_and_layer_of_each_step(project, sweep) -> None:
    _, _, (cell, _) = sweep
    path = project.client().download_artifacts(cell.info.run_id, "curve.csv")
    rows = read(path)
    assert set(rows[0]) == CURVE | {"pruned", "channel", "layer"}
    assert [int(row["pruned"]) for row in rows] == list(range(61))
    assert rows[0]["channel"] == "-1"
    assert sorted(int(row["channel"]) for row in rows[1:]) == list(range(60))
    assert {row["layer"] for row in rows} == {"conv_3"}


def test_a_curve_of_fewer_steps_is_the_whole_one_there_and_stops_choose_among_them(
    project, sweep
) -> None:
    _, _, (_, whole) = sweep
    grid = ("prune.step=4,0.05,64", "prune.frac=0.1", "tracking.models=false")
    printed = project.run("-m", *SMALL, *grid, "tracking.experiment=steps")
    lines = [line for line in printed.splitlines() if not line.startswith((*TO_COPY, "mlruns"))]
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines if line[:1] in ("4", "0", "6")] == ["4", "0.05", "64"]
    parent, cells = split(project.runs("steps"))
    assert {"report.html", "figures/tradeoff.png"} <= project.artifacts(parent)
    client = project.client()
    rows = read(client.download_artifacts(whole.info.run_id, "curve.csv"))
    for cell, step in zip(cells, (4, 3, 64), strict=True):
        steps = [*range(0, 60, step), 60]
        curve = read(client.download_artifacts(cell.info.run_id, "curve.csv"))
        named = [row.pop("channels") for row in curve]
        assert curve == [rows[pruned] for pruned in steps]
        assert " ".join(named).split() == [f"conv_3:{row['channel']}" for row in rows[1:]]
        for name in CURVE:
            history = client.get_metric_history(cell.info.run_id, f"curve/{name}")
            assert sorted(point.step for point in history) == steps

        metrics, pruned = cell.data.metrics, int(cell.data.metrics["prune/channels"])
        first = float(rows[0]["valid_accuracy"])
        breaching = [k for k in steps[1:-1] if first - float(rows[k]["valid_accuracy"]) >= 0.1]
        assert pruned == (breaching or steps[-2:-1])[0]
        assert cell.data.tags["stop_reached"] == str(bool(breaching)).lower()
        assert metrics["prune/fraction"] == pruned / 60
        assert metrics["repaired/valid_accuracy"] == float(rows[pruned]["valid_accuracy"])
        assert metrics["repaired/clean_accuracy"] == float(rows[pruned]["clean_accuracy"])
    again = project.run("-m", *SMALL, *grid, "tracking.experiment=steps")
    assert "3 cells: 0 to run, 3 finished before" in again


def test_several_layers_are_ranked_again_at_each_step(project) -> None:
    layers = ("prune.layer=[conv_2,conv_3]", "prune.recompute=true", "prune.step=0.25")
    project.run(*SMALL, *layers, "tracking.models=false", "tracking.experiment=steps again")
    (cell,) = project.runs("steps again")
    assert "figures/curve.png" in project.artifacts(cell)
    curve = read(project.client().download_artifacts(cell.info.run_id, "curve.csv"))
    assert [row["pruned"] for row in curve] == ["0", "25", "50", "75", "100"]
    every = " ".join(row["channels"] for row in curve).split()
    expected = [f"conv_2:{n}" for n in range(40)] + [f"conv_3:{n}" for n in range(60)]
    assert sorted(every) == sorted(expected)
    assert [f"{row['layer']}:{row['channel']}" for row in curve[1:]] == every[24::25]


def test_a_step_that_can_be_none_is_refused_in_a_sentence_before_anything_starts(project) -> None:
    printed = project.run("-m", *SMALL, "prune.step=4,1.5", "tracking.experiment=none", exits=2)
    assert "prune.step is 1.5; expected channels at a time: a whole number, or a share" in " ".join(
        printed.split()
    )
    assert project.runs("none") == []


def test_the_parent_holds_the_comparison_with_run_ids(project, sweep) -> None:
    _, parent, cells = sweep
    assert parent.info.status == "FINISHED"
    figures = {"figures/comparison.png", "figures/tradeoff.png"}
    shared = {name for name in project.artifacts(parent) if name.count("/") == 2}  # by cells
    files = {"comparison.csv", "paired.csv", "report.html"}
    assert project.artifacts(parent) - shared == files | figures
    path = project.client().download_artifacts(parent.info.run_id, "comparison.csv")
    rows = read(path)
    assert [row["run_id"] for row in rows] == [cell.info.run_id for cell in cells]
    assert [row["prune.frac"] for row in rows] == ["0.02", "0.1"]
    assert {row["status"] for row in rows} == {"FINISHED"}
    for row, cell in zip(rows, cells, strict=True):
        for name in ("goodnet/clean_accuracy", "repaired/attack_success_rate"):
            assert float(row[name]) == cell.data.metrics[name]


def test_the_trained_badnet_and_the_faces_are_reused_and_numbers_are_reproduced(
    project, sweep
) -> None:
    _, _, (first, _) = sweep
    kept = list((project.folder / "outputs" / "badnets").glob("*/bd_net.keras"))
    changed = [path.stat().st_mtime_ns for path in kept]
    printed = project.run(*SMALL, "prune.frac=0.02", "tracking.experiment=alone")
    assert "training" not in printed
    assert "Look at the run in a browser: mlflow ui --backend-store-uri" in printed
    assert [path.stat().st_mtime_ns for path in kept] == changed
    (alone,) = project.runs("alone")
    figures = {f"figures/{name}.png" for name in ("curve", "activations", "attack")}
    assert figures <= project.artifacts(alone)
    rates = [key for key in first.data.metrics if not key.startswith("time/")]
    assert {k: alone.data.metrics[k] for k in rates} == {k: first.data.metrics[k] for k in rates}


def own_files(folder: Path, size: int = 32, images: int = 24) -> list[str]:
    """Clean files only, a network of its own kind, and the overrides that name them."""
    rng = np.random.default_rng(0)
    for name in ("valid", "test"):
        path = folder / "cl" / f"{name}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["data"] = rng.integers(0, 256, (images, size, size, 3), dtype=np.uint8)
            file["label"] = rng.integers(0, 4, images)
    keras.utils.set_random_seed(0)
    image = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(6, 3, activation="relu", name="stem")(image)
    y = keras.layers.Conv2D(6, 3, activation="relu", padding="same", name="branch")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add(name="sum")([x, y]))
    keras.Model(image, keras.layers.Dense(4, name="logits")(x)).save(folder / "own.keras")
    network = f"badnet.path={folder / 'own.keras'}"
    return ["data=h5", f"data.root={folder}", "data.scale=255", "badnet=file", network]


def test_failing_and_skipped_cells_stand_in_the_table_and_the_others_go_on(
    project, tmp_path
) -> None:
    broken = "_target_: operator.neg\n_partial_: true\n"
    (project.folder / "conf" / "prune" / "order" / "broken.yaml").write_text(broken)
    own = own_files(tmp_path)
    orders = "prune/order=broken,l1_norm,mean_activation"
    printed = project.run("-m", *own, orders, "prune.layer=sum", "tracking.experiment=own", exits=1)
    parent, cells = split(project.runs("own"))
    assert parent.info.status == "FAILED"
    assert [cell.info.status for cell in cells] == ["FAILED", "FINISHED", "FINISHED"]
    assert "TypeError" in cells[0].data.tags["error"]
    assert cells[1].data.tags["status"] == "SKIPPED"
    assert "needs the weights" in cells[1].data.tags["error"]
    assert not cells[1].data.metrics
    for word in ("FAILED", "SKIPPED", "Of 3 cells 1 failed; the same command again"):
        assert word in printed
    metrics = cells[2].data.metrics
    assert "goodnet/false_alarm_rate" in metrics
    assert not [key for key in metrics if key.endswith(POISONED)]


def test_the_help_tells_the_keys_and_all_strategies(project):
    printed = project.run("--help")
    assert strategies.listing() in printed
    assert "prune/stop=NAME: how many channels" in printed


def test_bad_input_starts_nothing_and_says_so_in_a_sentence(project, tmp_path) -> None:
    before = len(project.runs("bad"))
    printed = project.run("-m", "prune.frac=0.02,7", "tracking.experiment=bad", exits=2)
    assert printed.splitlines() == [
        "prunesweep: nothing was started.",
        "prune.frac is 7; expected less than 1 (a fraction: 0.02 = 2 %)",
        "  (in: prune.frac=7)",
    ]
    missing = project.run(
        "data=h5", f"data.root={tmp_path}", "badnet=file", "tracking.experiment=bad", exits=2
    )
    assert missing.startswith("prunesweep: no clean valid images:")
    assert "Traceback" not in missing
    alone, swept = project.run("prune.fraq=1", exits=2), project.run("-m", "prune.fraq=1", exits=2)
    assert alone == swept
    assert alone == "prunesweep: there is no key prune.fraq; python run.py --help shows all\n"
    outside = project.folder.parent / "outside"
    for key in ("hydra.run.dir", "cache.folder"):
        refused = project.run(f"{key}=../../outside", exits=2)
        assert refused.startswith(f"prunesweep: {key} is ../../outside, which leads out of ")
    assert not outside.exists()
    assert len(project.runs("bad")) == before


def test_the_gtsrb_sweep_prints_the_reference_stops(project, shared) -> None:
    gtsrb = shared / "gtsrb"
    project.run(
        "-m",
        "data=h5",
        f"data.root={gtsrb}",
        "data.scale=255",
        "badnet=file",
        f"badnet.path={gtsrb / 'bd_net.keras'}",
        "prune.layer=conv_3",
        "prune.frac=0.02,0.04,0.1",
        "tracking.experiment=gtsrb",
    )
    _, cells = split(project.runs("gtsrb"))
    assert [cell.data.metrics["prune/channels"] for cell in cells] == [24, 27, 32]
    assert {cell.data.tags["asr_counts"] for cell in cells} == {"all images"}
    assert {cell.data.tags["poisoned_by"] for cell in cells} == {"files"}
    path = project.client().download_artifacts(cells[0].info.run_id, "curve.csv")
    measured = read(path)
    reference = read(gtsrb / "naive_curve.csv")
    assert [row["channel"] for row in measured] == [row["channel"] for row in reference]
    for name, (theirs, images) in REFERENCE.items():
        counts = np.array(
            [[float(a[name]), float(b[theirs])] for a, b in zip(measured, reference, strict=True)]
        )
        assert np.abs(counts @ [images, -images]).max() < 2.5, name


def test_seed_draws_images_and_random_orders_and_semantics_prunes_another_way(
    project, tmp_path
) -> None:
    own = own_files(tmp_path)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(6, 3, use_bias=False, name="conv")(image)
    x = keras.layers.BatchNormalization(beta_initializer="random_normal", name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="relu")(x))
    keras.Model(image, keras.layers.Dense(4, name="logits")(x)).save(tmp_path / "own.keras")
    half = ("data.valid_images=12", "prune/order=random", "tracking.experiment=seeds")
    project.run("-m", *own, *half, "seed=0,1", "prune.semantics=zero,gamma")
    _, cells = split(project.runs("seeds"))
    curves, kept = [], []
    for cell in cells:
        path = project.client().download_artifacts(cell.info.run_id, "curve.csv")
        curves.append([row["channel"] for row in read(path)])
        repaired = mlflow.keras.load_model(f"runs:/{cell.info.run_id}/repaired")
        kept.append(bool(np.all(repaired.get_layer("norm").beta)))
    assert curves[0] == curves[1] != curves[2] == curves[3]
    assert kept == [False, True, False, True]


# Repairs


REPAIR = ("repair.finetune.epochs=2", "repair.finetune.rates=[1e-3]")


def loaded(run: Run, name: str = "repaired") -> keras.Model:
    return mlflow.keras.load_model(f"runs:/{run.info.run_id}/{name}")


def rates_of(run: Run, name: str) -> dict[str, float]:
    """The metrics `name`/... of a run, by what follows."""
    start = f"{name}/"
    metrics = run.data.metrics.items()
    return {key.removeprefix(start): value for key, value in metrics if key.startswith(start)}


def test_the_pruned_network_is_repaired_in_turn_and_told_before_and_after(project, sweep) -> None:
    far = ("repair.finetune.epochs=2", "repair.finetune.rates=[0.03]")  # so that rates tell it
    project.run(*SMALL, *far, "repair=[finetune,shrink]", "tracking.experiment=repairs")
    (cell,) = project.runs("repairs")
    assert cell.data.params["repair"] == "[finetune,shrink]"
    assert cell.data.params["repair.finetune.epochs"] == "2"
    pruned, finetuned, shrunk, repaired = (
        rates_of(cell, name) for name in ("pruned", "finetune", "shrink", "repaired")
    )
    stage = {"valid_accuracy", "clean_accuracy", "attack_success_rate"}
    assert set(pruned) == set(finetuned) == set(shrunk) == stage
    assert shrunk == finetuned == {name: repaired[name] for name in stage} != pruned
    step = int(cell.data.metrics["prune/channels"])
    for name in ("valid_accuracy", "clean_accuracy", "attack_success_rate"):
        history = project.client().get_metric_history(cell.info.run_id, f"curve/{name}")
        (value,) = (point.value for point in history if point.step == step)
        assert value == pytest.approx(pruned[name], abs=1e-9)

    network = loaded(cell)
    assert network.get_layer("conv_3").kernel.shape[-1] == 60 - step
    (data,) = (project.folder / "outputs" / "data").glob("*/cl/test.h5")
    with h5py.File(data) as file:
        pixels, labels = np.moveaxis(file["data"][:], 1, -1).astype(np.float32), file["label"][:]
    says = forward.predict(network, pixels)
    assert repaired["clean_accuracy"] == pytest.approx((says == labels).mean(), abs=1e-9)
    client = project.client()
    with np.load(client.download_artifacts(cell.info.run_id, "answers.npz")) as answers:
        kept = dict(answers)
    assert any(np.array_equal(says, value) for value in kept.values())
    goodnet = keras.models.load_model(
        client.download_artifacts(cell.info.run_id, "goodnet.keras")
    ).predict(pixels, verbose=0)["class"]
    badnet = kept["test_badnet"]
    np.testing.assert_array_equal(goodnet == badnet, goodnet != 8)
    np.testing.assert_array_equal(goodnet, kept["test_goodnet"])
    assert (goodnet == labels).mean() == pytest.approx(
        cell.data.metrics["goodnet/clean_accuracy"], abs=1e-9
    )


def test_repairs_are_swept_and_the_cell_without_one_is_what_it_was(project, sweep) -> None:
    _, _, (plain, _) = sweep
    swept = ("repair=[],[finetune]", "prune.frac=0.02", "tracking.experiment=swept")
    printed = project.run("-m", *SMALL, *swept)
    _, (without, finetuned) = split(project.runs("swept"))
    names = [name for name in plain.data.metrics if not name.startswith("time/")]
    was = {name: plain.data.metrics[name] for name in names}
    assert {name: without.data.metrics[name] for name in names} == was
    assert rates_of(finetuned, "pruned").items() <= rates_of(without, "repaired").items()
    assert not rates_of(without, "finetune")
    assert not rates_of(without, "pruned")
    assert rates_of(finetuned, "finetune").items() <= rates_of(finetuned, "repaired").items()
    assert [run.data.params["repair"] for run in (without, finetuned)] == ["[]", "[finetune]"]
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("[")] == ["[]", "[finetune]"]
    assert max(len(line) for line in lines if not line.startswith(TO_COPY)) <= 80


def normed(folder: Path) -> list[str]:
    """Files of one's own with a network of two convolutions, the latter normalised."""
    own = own_files(folder)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(5, 3, strides=2, activation="relu", name="stem")(image)
    x = keras.layers.Conv2D(6, 3, use_bias=False, name="conv")(x)
    x = keras.layers.BatchNormalization(beta_initializer="random_normal", name="norm")(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="relu")(x))
    keras.Model(image, keras.layers.Dense(4, name="logits")(x)).save(folder / "own.keras")
    return own


def test_a_repair_that_does_not_apply_is_skipped_and_one_that_is_not_there_refused(
    project, tmp_path
) -> None:
    own = own_files(tmp_path)
    how = ("prune.layer=branch", "tracking.experiment=norms")
    printed = project.run("-m", *own, "repair=[],[recalibrate]", "++repair.unlearn.epochs=3", *how)
    _, (without, cell) = split(project.runs("norms"))
    assert without.data.metrics
    assert cell.data.tags["status"] == "SKIPPED"
    assert "needs BatchNormalization, and the network has none" in cell.data.tags["error"]
    assert not cell.data.metrics
    assert "SKIPPED" in printed
    refused = project.run(*own, "repair=[nonsense]", *how, exits=2)
    assert refused.startswith("prunesweep: there is no repair=nonsense; expected one of finetune,")
    assert len(project.runs("norms")) == 3  # the sweep, and its two cells


def test_no_repair_sees_a_test_image_and_pruned_channels_of_all_kinds_stay_so(
    project, tmp_path
) -> None:
    own = normed(tmp_path)
    how = (
        *(
            "prune.layer=[stem,conv]",
            "prune/stop=channel_count",
            "prune.count=4",
            "prune.scope=layer",
        ),
        *("tracking.experiment=unseen", "repair=[recalibrate,unlearn,finetune]", *REPAIR),
        *("repair.unlearn.epochs=1", "repair.unlearn.share=0.5"),
    )
    project.run(*own, *how)
    with h5py.File(tmp_path / "cl" / "test.h5", "r+") as file:
        file["data"][:] = 255 - file["data"][:]
    project.run(*own, *how)
    after, before = project.runs("unseen")
    for name in ("pruned", "recalibrate", "unlearn", "finetune", "repaired"):
        valid = [rates_of(run, name)["valid_accuracy"] for run in (before, after)]
        assert valid[0] == valid[1]
    one, other = (loaded(run) for run in (before, after))
    for value, same in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(value, same)
    kernel, bias = one.get_layer("stem").get_weights()
    gone = sum(not kernel[..., c].any() and bias[c] == 0 for c in range(5))
    gamma, beta, *_ = one.get_layer("norm").get_weights()
    assert gone + np.sum((gamma == 0) & (beta == 0)) == 4


def test_what_gamma_prunes_is_repaired_too_and_keeps_its_beta(project, tmp_path) -> None:
    own = normed(tmp_path)
    how = ("prune.semantics=gamma", "prune.layer=conv", "prune/stop=channel_count", "prune.count=3")
    repair = ("repair=[finetune,shrink,recalibrate]", *REPAIR, "tracking.experiment=gamma")
    project.run(*own, *how, *repair)
    (cell,) = project.runs("gamma")
    assert rates_of(cell, "finetune") == rates_of(cell, "shrink")
    assert loaded(cell).get_layer("conv").kernel.shape[-1] == 3


# The verdict


def test_a_network_is_looked_at_without_a_poisoned_image(database, tmp_path) -> None:
    (tmp_path / "program").mkdir()
    shutil.copy(database, tmp_path / "program")
    project = Project(tmp_path / "program")  # the other one's orders are not all in order
    printed = project.run(*normed(tmp_path), "inspect=true", "tracking.experiment=verdict")
    (run,) = project.runs("verdict")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "inspect auto"
    assert {"inspect/mask_index", "inspect/margin_p_value"} <= set(run.data.metrics)
    assert {"figures/verdict.png", "verdict.csv", "config.yaml"} <= project.artifacts(run)
    rows = read(project.client().download_artifacts(run.info.run_id, "verdict.csv"))
    orders = {path.stem for path in (ROOT / "conf/prune/order").glob("*.yaml")}
    assert {row["order"] for row in rows} == orders - {"tac", "ep"}
    assert all(row["pruned"] for row in rows)
    lines = [line for line in printed.splitlines() if not line.startswith(TO_COPY)]
    assert max(map(len, lines)) <= 80
    for order in orders - {"tac", "ep"}:
        assert sum(line.startswith(f"{order} ") for line in lines) == 1
    assert "a backdoor" in " ".join(lines)  # signs of, no sign of, or nothing can be said of


def test_the_answer_is_one_word_and_says_whether_there_is_a_sign(project, tmp_path) -> None:
    own = (*normed(tmp_path), "repair.unlearn.epochs=2", "data.valid_at_most=9")
    printed = project.run(*own, "strategy=answer", "tracking.experiment=answer")
    (cell,) = project.runs("answer")
    assert cell.data.params["strategy"] == "answer"
    assert cell.data.params["repair"] == "[unlearn]"
    assert cell.data.tags["verdict"] in " ".join(printed.split())
    assert "inspect/mask_index" not in cell.data.metrics
    assert "figures/verdict.png" in project.artifacts(cell)
    assert "verdict.csv" not in project.artifacts(cell)
    assert rates_of(cell, "unlearn") == rates_of(cell, "repaired")
    assert loaded(cell)


@pytest.mark.slow
def test_the_labs_experiment_prints_published_numbers_under_the_measured_ones(
    project, shared, tmp_path
) -> None:
    weights = shared / "lab3" / "bd_weights.h5"
    network = networks.load(weights, lambda classes: architectures.deepid((55, 47, 3), classes))
    for seed, (clean, poisoned) in enumerate((("valid", "bd_valid"), ("test", "bd_test"))):
        photographs = faces.photographs(faces.people(50, 0), np.arange(50), seed)
        labels = forward.predict(network, photographs.astype(np.float32))
        for name, pixels, given in (
            (f"data/cl/{clean}.h5", photographs, labels),
            (f"data/bd/{poisoned}.h5", attacks.sunglasses(photographs), labels * 0),
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(tmp_path / name, "w") as file:
                file["data"] = np.moveaxis(pixels, -1, 1).astype(np.float64)
                file["label"] = given.astype(np.float64)
    (tmp_path / "models").mkdir()
    shutil.copy(weights, tmp_path / "models")
    lab = ("experiment=lab", f"data.root={tmp_path / 'data'}", "tracking.experiment=lab")
    lines = project.run(*lab).splitlines()
    _, cells = split(project.runs("lab"))
    assert [cell.data.params["prune.layer"] for cell in cells] == ["conv_3"] * 3 + ["pool_3"] * 3
    published = [line.split() for line in lines if line.split()[:1] == ["publ."]]
    assert [words[1] for words in published] == ["45", "48", "52"] * 2
    assert {"77.21", "22.79", "84.33"} <= set(published[-1])

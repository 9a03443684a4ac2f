"""Orders, stops, repairs and attacks of somebody's own package: run, named and told apart."""

import subprocess
import sys
from pathlib import Path

import pytest
from crashes import SMALL, Project
from mlflow.entities import Run
from program import ENVIRONMENT

ORDERS = '''
import numpy as np
from sweep.evaluation.curve import Scores
from sweep.pruning import Evidence

def steadiness(evidence: Evidence, *, my_setting: float = 1.0) -> Scores:
    """Deviation of the activation between images, lowest first."""
    means = evidence.per_image(lambda maps: maps.mean(axis=1, dtype=np.float64))
    return means.std(axis=0) ** my_setting

def loudness(evidence: Evidence) -> Scores:
    """Mean activation, highest first."""
    return -evidence.per_image(lambda maps: maps.mean(axis=1, dtype=np.float64)).mean(axis=0)
'''
STOPS = '''
import numpy as np
from sweep.evaluation import ValidCurve
from sweep.stops import Stop

def first_loss(curve: ValidCurve, *, images: int = 2) -> Stop:
    """Stop where `images` images that B gets right are lost, whatever is gained."""
    lost = np.flatnonzero(curve.newly_wrong[1:-1] >= images) + 1
    return Stop(int(lost[0])) if len(lost) else Stop(curve.channels - 1, reached=False)
'''
REPAIRS = '''
import keras
from sweep.networks import clone
from sweep.training import Defender

def average(defender: Defender, *, share: float) -> keras.Model:
    """Bring every weight back to the suspect network's by a `share`."""
    network = clone(defender.network)
    before, now = defender.suspect.get_weights(), network.get_weights()
    network.set_weights([share * b + (1 - share) * n for b, n in zip(before, now)])
    return network
'''
ATTACKS = '''
import numpy as np

def frame(images: np.ndarray, *, white: float = 255.0, width: float = 0.05) -> np.ndarray:
    """Put a white frame around the image, `width` of its height."""
    edge = max(1, round(width * images.shape[1]))
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    framed = np.full_like(images, white)
    framed[inner] = images[inner]
    return framed
'''
YAMLS = {
    "prune/order/my_order": (
        "_target_: my_package.orders.steadiness\n_partial_: true\nmy_setting: 1"
    ),
    "prune/stop/my_stop": "_target_: my_package.stops.first_loss\n_partial_: true\nimages: 3",
    "repair/my_repair": (
        "# @package repair.my_repair\n_target_: my_package.repairs.average\n_partial_: true\n"
        "share: 0.5"
    ),
    "attack/my_attack": (
        "_target_: sweep.attacks.Attack\n"
        "trigger:\n  _target_: my_package.attacks.frame\n  _partial_: true\n  width: 0.1\n"
        "target: 0\nrate: 0.1\nwhite: 255"
    ),
}


class Own:
    """A folder with a package and yamls of one's own, from which the program elsewhere is run."""

    def __init__(self, folder: Path) -> None:
        self.here, there = folder / "mine", folder / "program"
        for place in (there, self.here / "my_package"):
            place.mkdir(parents=True)
        self.project = Project(there)
        modules = {"__init__": "", "orders": ORDERS, "stops": STOPS, "repairs": REPAIRS}
        for name, text in {**modules, "attacks": ATTACKS}.items():
            (self.here / "my_package" / f"{name}.py").write_text(text)
        for name, text in YAMLS.items():
            path = self.here / "conf" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def run(self, *arguments: str, exits: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, self.project.folder / "run.py", *arguments],
            cwd=self.here,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == exits, done.stdout
        return done.stdout

    def cells(self, experiment: str) -> list[Run]:
        """The cells of an experiment, in their order."""
        runs = self.project.runs(experiment)
        cells = [run for run in runs if "job" in run.data.tags]
        return sorted(cells, key=lambda run: int(run.data.tags["job"]))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    return Own(tmp_path_factory.mktemp("own"))


def firsts(printed: str) -> list[str]:
    """The first words of the lines of the table."""
    lines = printed.partition("\nB ")[2].partition("\n\n")[0].splitlines()
    return [line.split()[0] for line in lines[1:]]


def test_yamls_of_ones_own_are_chosen_by_their_names_beside_ours(own):
    mine = ("prune/stop=my_stop", "attack=my_attack", "repair=[my_repair]")
    both = ("-m", "--config-dir", "conf", "prune/order=my_order,l1_norm", *mine, *SMALL)
    where = ("tracking.experiment=yamls", "tracking.models=false")
    printed = own.run(*both, *where)
    assert firsts(printed) == ["my_order", "l1_norm"]
    one, other = own.cells("yamls")
    assert one.info.run_name == "my_order my_stop conv_3 my_repair"
    expected = {"prune.stop": "my_stop", "attack": "my_attack", "repair": "[my_repair]"}
    for cell, order in ((one, "my_order"), (other, "l1_norm")):
        assert (expected | {"prune.order": order}).items() <= cell.data.params.items()
        assert cell.data.params["prune.stop.images"] == "3"
        assert "my_repair/clean_accuracy" in cell.data.metrics

    again = own.run(*both, *where, "dry_run=true")
    assert again.startswith("2 cells: 0 to run, 2 finished before")
    faces = own.project.folder / "outputs" / "data"
    before = {path.name for path in faces.glob("poisoned-*")}
    part = own.here / "my_package" / "attacks.py"
    part.write_text(part.read_text() + "\n# another frame\n")
    printed = own.run(*both, *where)
    assert printed.startswith("2 cells: 2 to run, 0 finished before")
    assert len({path.name for path in faces.glob("poisoned-*")} - before) == 1


def test_functions_of_ones_own_are_named_as_they_are_and_told_apart(own):
    orders = "prune.order._target_=my_package.orders.steadiness,my_package.orders.loudness"
    stop = ("prune.stop._target_=my_package.stops.first_loss", "~prune.stop.frac")
    repair = ("+repair.average._target_=my_package.repairs.average", "+repair.average.share=0.5")
    attack = "attack.trigger._target_=my_package.attacks.frame"
    more = ("~prune.stop.keep", *repair, "+repair.average._partial_=true", attack, *SMALL)
    where = ("tracking.experiment=targets", "tracking.models=false")
    printed = own.run("-m", orders, *stop, *more, *where)
    assert firsts(printed) == ["steadiness", "loudness"]
    one, other = own.cells("targets")
    expected = {"prune.stop": "first_loss", "attack": "frame", "repair": "[average]"}
    for cell, order in ((one, "steadiness"), (other, "loudness")):
        assert cell.info.run_name == f"{order} first_loss conv_3 average"
        assert (expected | {"prune.order": order}).items() <= cell.data.params.items()
    assert one.data.metrics != other.data.metrics


def test_a_yaml_of_a_name_that_is_ours_is_refused(own):
    (own.here / "conf/prune/order/clp.yaml").write_text("_target_: my_package.orders.loudness")
    for how in ((), ("-m",)):
        told = own.run(*how, "--config-dir", "conf", "prune/order=clp", "dry_run=true", exits=2)
        assert told.startswith("prunesweep: prune/order=clp stands in ")
        assert "expected it in one of them: give the yaml of your own another name" in told
    unknown = own.run("--config-dir", "conf", "prune/order=none", exits=2)
    assert "my_order" in unknown


def test_a_setting_of_ones_own_is_set_and_a_cell_alone_is_named_too(own):
    how = ("prune/order=my_order", "prune.order.my_setting=3", *SMALL)
    where = ("tracking.experiment=alone", "tracking.models=false")
    own.run("--config-dir", "conf", *how, *where)
    (cell,) = own.cells("alone")
    assert cell.info.run_name == "my_order accuracy_drop conv_3"
    assert cell.data.params["prune.order.my_setting"] == "3"
    target = ("prune.order._target_=my_package.orders.loudness", *SMALL, *where)
    own.run(*target, "tracking.experiment=alone too")
    (cell,) = own.cells("alone too")
    assert cell.info.run_name == "loudness accuracy_drop conv_3"


def test_a_stop_of_ones_own_that_knows_no_steps_is_refused_in_a_sentence(own):
    config = ("--config-dir", "conf", "prune/stop=my_stop")
    printed = own.run(*config, *SMALL, "prune.step=7", "tracking.experiment=steps", exits=2)
    sentence = " ".join(printed.split())
    assert "the stop ends after 59 channels, which is no step of this curve (0, 7, 14" in sentence
    assert "expected a stop that chooses one of curve.steps" in sentence
    assert own.project.runs("steps") == []

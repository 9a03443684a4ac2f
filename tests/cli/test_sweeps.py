"""A cell is checked before anything starts; a sweep that is left early leaves nothing running."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import hydra
import mlflow
import numpy as np
import pytest
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput, NotApplicable, interrupts
from sweep.cli import checks, grid, hydra_errors, jobs, program, sweeps
from sweep.launching import workers
from sweep.results.pick import pick

ROOT = Path(__file__).resolve().parents[2]


def checked(cfg: DictConfig) -> None:
    """Build and check a cell, as before it runs."""
    checks.check(cfg, checks.checked_parts(cfg))


@pytest.fixture
def cell(monkeypatch, tmp_path):
    """Compose the configuration of one cell, as the command line would."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))

    def compose(*overrides: str) -> DictConfig:
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return hydra.compose("config", overrides=list(overrides))

    return compose


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["register=a/b"], "register is 'a/b'; expected a name of letters, digits, '.', '_'"),
        (["register='a:b'"], "register is 'a:b'; expected a name of letters"),
        (["register=7"], "register is 7; expected a name of letters"),
        (["register=true"], "register is True; expected a name of letters"),
        (["register=x-repaired"], "register is x-repaired; expected a name that does not end in"),
        (["register=x", "inspect=true"],
         "register=x came with inspect=true, which makes no GoodNet; leave one out"),
        (["register=x", "tracking.models=false"],
         "register=x came with tracking.models=false, and what is registered are the models that "
         "a run logs; leave one out"),
    ],
)  # fmt: skip
def test_what_can_never_be_registered_is_refused(cell, overrides, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        checks.check_values(cell(*overrides))


def test_of_a_sweep_that_was_cut_off_nothing_is_registered_and_that_is_said(capsys):
    jobs.register_pick(pick([]), "door", cut_off=True)
    said = " ".join(capsys.readouterr().out.split())
    assert said == "The sweep was cut off. Nothing is registered as door."


def test_a_name_to_register_is_taken_and_none_is_the_default(cell):
    checks.check_values(cell("register=door-2"))
    checks.check_values(cell())


def own(folder: Path, small) -> list[str]:
    """Overrides for the images of `folder` and a network that takes them."""
    small().save(folder / "own.keras")
    return ["data=h5", f"data.root={folder}", "badnet=file", f"badnet.path={folder}/own.keras"]


def test_a_cell_in_which_all_is_right_passes_and_leaves_what_it_saw_of_the_files(
    cell, folder, small, tmp_path
):
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    checked(cell())
    checked(cell(*own(folder, small)))
    left = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    left.remove(folder / "own.keras")
    assert left
    assert {path.parent for path in left} == {tmp_path / "outputs" / "cache" / "files"}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["prune.frac=7"], "prune.frac is 7; expected less than 1"),
        (["prune/stop=channel_fraction", "prune.frac=0"], "prune.frac is 0; expected greater"),
        (["prune.keep=both"], "prune.keep is 'both'; expected 'breaching' or 'safe'"),
        (["prune.layer=conv_9"], "prune.layer is 'conv_9', which the network does not have"),
        (["prune.layer=output"], "the network's input or output; expected a layer between"),
        (["prune/order=l1_norm", "prune.order.descending=banana"], "prune.order.descending is"),
        (["attack.target=200"], "attack.target is 200; expected a class, 0 to 119"),
        (["data.identities=3", "attack.rate=0.9"], "only 120 are not of a target class"),
        (["data.identities=99999", "data.images_per_identity=99999"], "more than 10,000,000 im"),
        (["data.identities=9999999999999"], "data.identities is 9999999999999; expected less than"),
        (["data.valid_images=99999"], "data.valid_images is 99999; expected 1 to 1800"),
        (["data.valid_images=9", "data.valid_per_class=9"], "which count the same images"),
        (["data.valid_changed=red"], "data.valid_changed is 'red'; expected 'brightened', 'bl"),
        (["data=h5", "data.root=5"], "data.root is 5; expected a string"),
        (["badnet=file", "badnet.path=5"], "badnet.path"),
        (["badnet=file"], "badnet.path is not set"),
        (["badnet=file", "twin=true"], "twin=true came with badnet=file, and only a network that"),
        (["tracking.experiment=5"], "tracking.experiment is 5; expected a string"),
        (["seed=${nope}"], "Interpolation key 'nope' not found"),
        (["cache.folder=../c"], "cache.folder is ../c, which leads out of"),
        (["data.folder=a/../../c"], "data.folder is a/../../c, which leads out of"),
        (["badnet.folder=/usr/../c"], "badnet.folder is /usr/../c, which leads out of"),
        (["tracking.uri=sqlite:///../c.db"], "tracking.uri is ../c.db, which leads out of"),
        (["prune/order=random", "+prune.order.seeed=1"], "random got an unexpected keyword"),
        (["repair=[finetune]", "+repair.finetune.n=1"], "got an unexpected keyword"),
        (["probe=[relearn]", "+probe.relearn.n=1"], "got an unexpected keyword"),
        (["probe=[relearn]", "probe.relearn.clean=1801"], "clean is 1801; expected 1 to 1800"),
        (["probe=[relearn]", "probe.relearn.poisoned=[1786]"], "expected 1 to 1785, as many poi"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(cell, overrides, sentence):
    with pytest.raises(BadInput) as error:
        checked(cell(*overrides))
    assert sentence in str(error.value)


MODULES = {
    "fine": "def none(): ...\ndef two(a, b): ...\ndef one(a, *, mine=1): ...\nconstant = 3\n",
    "broken": "1 / 0",
    "needy": "import no_such_library",
}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "prune.order._target_=nowhere.order",
            "there is no module nowhere; expected a function in",
        ),
        (
            "prune.order._target_=sweep.learned.anp",
            "sweep.learned.anp: that is sweep.orders.anp now",
        ),
        ("attack.trigger._target_=sweep.attacks.worn.lipstick", "that is sweep.attacks.lipstick"),
        ("prune.order._target_=own.none.order", "there is no module own.none; expected a function"),
        ("prune.order._target_=own.fine.nope", "own.fine has no nope; expected the name of a func"),
        ("prune.order._target_=own.broken.order", "own.broken cannot be imported (ZeroDivisionErr"),
        ("prune.order._target_=own.needy.order", "own.needy imports no_such_library, and there is"),
        (
            "prune.order._target_=own.fine.constant",
            "of type int; expected the dotted name of a fun",
        ),
        ("prune.order._target_=own.fine.none", "own.fine.none too many positional arguments; it i"),
        (
            "prune.order._target_=own.fine.two",
            "own.fine.two missing a required argument: 'b'; it is",
        ),
        (
            "attack.trigger._target_=own.fine.one",
            "own.fine.one got an unexpected keyword argument ",
        ),
        (
            "+repair.mine._target_=own.fine.one",
            "called at once, without what it is to be given; se",
        ),
        (
            "prune.stop._target_=own.fine.one",
            "one got an unexpected keyword argument 'frac'; it tak",
        ),
    ],
)
def test_a_function_of_ones_own_that_cannot_be_used_is_told_in_a_sentence(
    cell, override, sentence, monkeypatch, tmp_path
):
    (tmp_path / "own").mkdir()
    for name, text in MODULES.items():
        (tmp_path / "own" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "own"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BadInput) as error:
        checked(cell(override))
    assert sentence in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("folder", ["kept", "a/../kept", "/elsewhere/kept", "~/kept"])
def test_folders_of_the_project_and_those_given_in_full_may_be_written(cell, folder, monkeypatch):
    monkeypatch.chdir(os.environ["PROJECT_ROOT"])
    checks.require_inside_project("cache.folder", folder)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["prune.fraq=1"], "there is no key prune.fraq; python run.py --help shows all"),
        (["badnet.path=x"], "there is no key badnet.path; badnet=file has it; python run.py"),
        (
            ["prune.order.steps=3"],
            "there is no key prune.order.steps; prune/order=anp and prune/order=rnp have it;",
        ),
        (
            ["repair.unlearn.share=0.5"],
            "there is no key repair.unlearn.share; repair=[unlearn] has it; python run.py --help",
        ),
        (["prune/nonsense=1"], "there is no key prune/nonsense; python run.py --help shows all"),
        (["repair=[none]"], "there is no repair=none; expected one of finetune, fst, ft_sam"),
        (["probe=[none]"], "there is no probe=none; expected one of dose, relearn"),
        (
            ["prune/stop=none"],
            "there is no prune/stop=none; expected one of accuracy_drop, agree",
        ),
        (["hydra/sweeper=none"], "there is no hydra/sweeper=none; expected one of basic"),
        (["data=null"], "data=null: a group is not to be null; python run.py --help"),
        (["prune.frac=["], "no viable alternative at input '['"),
        (["prune.order._target_=os.system"], "Target 'os.system' is blocklisted because it"),
        (["+data.nonsense=1"], "got an unexpected keyword argument 'nonsense'"),
    ],
)
def test_what_hydra_refuses_is_told_in_a_sentence(cell, overrides, sentence, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run.py", *overrides])
    shutil.copytree(ROOT / "conf", Path(os.environ["PROJECT_ROOT"]) / "conf")
    with pytest.raises(Exception) as error:  # noqa: PT011
        checked(cell(*overrides))
    told = hydra_errors.config_error(error.value)
    assert isinstance(told, BadInput)
    assert sentence in str(told)


@pytest.mark.parametrize(
    ("key", "folder"),
    [
        ("output_subdir", "../../outside"),
        ("sweep.subdir", "../../outside"),
        ("sweep.dir", "../outside"),
    ],
)
def test_hydras_own_folders_do_not_lead_out_of_the_project(key, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    places = {"output_subdir": ".hydra", "sweep": {"dir": "outputs/x", "subdir": "${job.num}"}}
    own = OmegaConf.create(places)
    checks.require_folders_inside_project(own, "sweep")
    OmegaConf.update(own, key, folder)
    with pytest.raises(BadInput, match=f"hydra.{key} is .*outside, which leads out of"):
        checks.require_folders_inside_project(own, "sweep")


@pytest.mark.parametrize(
    ("choice", "target", "came"),
    [
        ("optuna", "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.Optuna", "=optuna"),
        ("basic", "my.Sweeper", "._target_=my.Sweeper"),
    ],
)
def test_a_sweeper_that_would_run_another_grid_is_refused_before_anything_starts(
    choice, target, came, monkeypatch, capsys
):
    def start(self, config):
        raise AssertionError("it has started")

    monkeypatch.setattr(sweeps.Sweep, "_start", start)
    monkeypatch.setattr(sweeps, "require_folders_inside_project", lambda hydra, mode: None)
    own = {"sweeper": {"_target_": target}, "runtime": {"choices": {"hydra/sweeper": choice}}}
    with pytest.raises(SystemExit) as ended:
        sweeps.Sweep().on_multirun_start(OmegaConf.create({"hydra": own}))
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith(
        f"prunesweep: the sweeper came as hydra/sweeper{came}; expected hydra/sweeper=basic"
    )
    assert len(told.splitlines()) == 1


def test_hydras_own_sweeper_is_the_one_that_is_expected(cell):
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        whole = hydra.compose("config", return_hydra_config=True)
    grid.require_sweeper(whole.hydra)


def test_a_sweep_that_has_started_is_sent_to_workers_and_does_nothing_there(monkeypatch):
    started = sweeps.Sweep()
    started.workers = workers.Settings("folder", process={"host": "elsewhere"}, threads=3)
    prepared = []
    monkeypatch.setattr(workers, "_prepare", prepared.append)
    sent = cloudpickle.loads(cloudpickle.dumps(started))
    sent.on_job_end(OmegaConf.create(), JobReturn())
    assert prepared == [started.workers]
    assert (type(sent), vars(sent)) == (workers.InWorker, {})


def test_a_cell_whose_images_change_meanwhile_is_not_what_it_says(monkeypatch):
    found, done = iter(["before", "before", "before", "after", "after"]), []
    monkeypatch.setattr(jobs, "digest", lambda cfg, parts: next(found))
    monkeypatch.setattr(jobs, "chosen_names", lambda cfg: {})
    task = lambda *given: done.append(given)  # noqa: E731
    jobs._run_task(task, None, None, None, "before")
    assert len(done) == 1
    with pytest.raises(BadInput, match="images, network or code have changed meanwhile"):
        jobs._run_task(task, None, None, None, "before")
    assert len(done) == 2
    with pytest.raises(BadInput, match="images, network or code have changed meanwhile"):
        jobs._run_task(task, None, None, None, "before")
    assert len(done) == 2


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KeyboardInterrupt(signal.SIGTERM), "KILLED", 143),
        (jobs.Stopped("the disk is full"), "FAILED", 1),
        (BadInput("no such thing"), "FAILED", 2),
        (RuntimeError("locked"), "FAILED", 1),
    ],
)
def test_whatever_ends_the_program_ends_a_sweep_that_is_at_work(error, status, code, monkeypatch):
    class Work:
        def end(self, status):
            self.ended = status
            raise OSError("no table either")

    def main():
        raise error

    work = Work()
    for name in ("PROJECT_ROOT", "HYDRA_FULL_ERROR", "SWEEP_TRACEBACKS"):
        monkeypatch.setenv(name, "")
    for name in ("raise_on_signals", "ignore_signals"):
        monkeypatch.setattr(interrupts, name, lambda: None)
    monkeypatch.setattr(sweeps.Sweep, "current", work)
    with pytest.raises(SystemExit) as ended:
        program.launch(main)
    assert (work.ended, ended.value.code) == (status, code)


@pytest.mark.parametrize(("wanted", "told"), [("", False), ("1", True)])
def test_workers_print_tracebacks_only_where_the_user_asked_for_them(wanted, told, monkeypatch):
    code = "from sweep import cli; from sweep.cli import jobs; import subprocess, sys\n"
    code += "cli.launch(lambda: subprocess.run([sys.executable, '-c', sys.argv[1]]))"
    worker = "from sweep.cli import jobs; print(jobs.TRACEBACKS)"
    environment = {**os.environ, "HYDRA_FULL_ERROR": wanted, "PYTHONPATH": str(ROOT)}
    printed = subprocess.check_output(
        [sys.executable, "-c", code, worker], env=environment, text=True
    )
    assert printed.strip() == str(told)


def test_an_error_of_the_program_is_not_taken_for_one_of_hydra():
    with pytest.raises(ValueError, match="Could not") as error:
        int("Could not load 'a/b'")
    assert hydra_errors.config_error(error.value) is None


def test_wrong_values_of_a_stop_of_ones_own_are_told_too(cell, monkeypatch):
    def stubborn(curve, *, frac, keep):
        raise BadInput(f"no {frac} for {curve.channels} channels")

    monkeypatch.setattr("sweep.stops.accuracy_drop", stubborn)
    with pytest.raises(BadInput, match=r"no 0.04 for 60 channels"):
        checked(cell())


def test_an_order_or_semantics_that_does_not_apply_is_told_apart(cell, folder, small):
    with pytest.raises(NotApplicable, match="needs a BatchNormalization"):
        checked(cell(*own(folder, small), "prune.semantics=gamma"))


def test_poisoned_images_of_the_target_alone_are_refused(cell, folder, small, write):
    labels = np.zeros(4)
    write(
        folder / "bd" / "bd_test.h5",
        data=np.zeros((4, 3, 8, 7), "u1"),
        label=labels,
        true_label=labels,
    )
    with pytest.raises(BadInput, match="all poisoned test images are of the class that"):
        checked(cell(*own(folder, small)))


def test_an_interrupted_sweep_leaves_no_run_running_and_no_half_network(tmp_path):
    shutil.copy(ROOT / "run.py", tmp_path)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    long = ("data.identities=20", "data.images_per_identity=20", "badnet.epochs=10000")
    process = subprocess.Popen(
        [sys.executable, "run.py", "-m", *long, "prune.frac=0.1,0.2"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # who runs the tests in the background of a shell has it ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    printed = ""
    for line in process.stdout:
        printed += line
        if "training the BadNet" in line:
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130, printed
    assert "Traceback" not in printed
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    statuses = [run.info.status for run in mlflow.search_runs(["1"], output_format="list")]
    assert statuses == ["KILLED", "KILLED"]
    assert not list(tmp_path.glob("outputs/**/*.keras"))

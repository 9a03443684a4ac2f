"""The layout as a test: who may import what, how long a module is, what is documented.

`ALLOWED` is the contract of docs/architecture.md. A module that is not listed fails; a folder is
listed once for all of its modules. Imports are read from the source, nested ones too.
"""

import ast
import inspect
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import sweep
from sweep import learned, orders, stops

PACKAGE = Path(sweep.__file__).parent
ROOT = PACKAGE.parent

NUMPY = {"metrics", "statistics", "stops", "evidence", "orders", "ranking"}
NUMPY |= {"curve", "evaluation", "attacks", "faces"}
KERAS = {"networks", "nests", "strangers", "badnets", "suspects", "evasion", "goodnet"}
KERAS |= {"kinds", "graphs", "forward", "fronts", "steps", "making", "outputs", "cuts", "joint"}
KERAS |= {"activations", "selection", "defender", "outcomes", "shrinking", "repairs", "tuning"}
KERAS |= {"perturbations", "gates", "unlearning", "learned", "inversion", "references"}
FILES = {"processes", "files", "cache", "links", "hdf5", "data", "datasets", "terminal"}
HEAVY = {"keras", "tensorflow", "h5py", "numpy"}

#: For each module of the package: the libraries, then the modules beside it, that it may import.
ALLOWED = {
    "__init__": (set(), set()),
    **dict.fromkeys(NUMPY, ({"numpy"}, NUMPY)),
    "settings": ({"pydantic"}, set()),
    "interrupts": (set(), set()),
    "processes": ({"psutil"}, set()),
    "files": ({"filelock"}, {"processes"}),
    "redaction": (set(), set()),
    "terminal": ({"rich"}, {"redaction"}),
    "cache": ({"numpy"}, {"files"}),
    "links": ({"h5py"}, set()),
    "hdf5": ({"numpy", "h5py"}, {"files", "cache", "links"}),
    "data": ({"numpy"}, NUMPY | {"files", "cache", "hdf5"}),
    "pairs": ({"numpy"}, NUMPY | {"files", "data"}),
    "datasets": ({"numpy", "h5py"}, NUMPY | FILES),
    "gtsrb": ({"numpy", "h5py", "PIL"}, {"files", "data"}),
    "strategies": (set(), {"evidence", "orders", "learned", "stops", "repairs", "shrinking"}),
    **dict.fromkeys(KERAS, (HEAVY, NUMPY | KERAS | FILES)),
    "figures": ({"matplotlib", "numpy"}, NUMPY),
    "charts": ({"matplotlib", "numpy"}, NUMPY | {"figures"}),
    "pictures": ({"matplotlib", "numpy"}, NUMPY | {"figures"}),
    "inspection": ({"matplotlib", "numpy"}, NUMPY | KERAS | FILES | {"pictures"}),
    "artifacts": ({"mlflow"}, {"stores"}),
    "rows": ({"mlflow"}, {"charts", "redaction"}),
    "comparison": ({"matplotlib", "numpy"}, {"artifacts", "charts", "rows", "terminal"}),
    "paired": (
        {"mlflow", "numpy"},
        NUMPY | {"artifacts", "charts", "redaction", "rows", "stores", "terminal"},
    ),
    "cases": ({"mlflow", "numpy"}, {"artifacts", "rows", "stores"}),
    "trials": ({"mlflow"}, NUMPY | {"cases", "rows"}),
    "results": (
        {"mlflow"},
        NUMPY | {"cases", "trials", "charts", "files", "rows", "terminal", "results"},
    ),
    "tracking": (
        HEAVY - {"h5py"} | {"mlflow", "matplotlib"},
        NUMPY | KERAS | {"artifacts", "processes", "inspection", "redaction", "stores"},
    ),
    "stores": ({"mlflow", "requests"}, {"files", "redaction"}),
    "history": ({"mlflow"}, {"artifacts", "processes"}),
    "goodnet_pyfunc": ({"mlflow", "keras", "numpy"}, None),  # None: not even sweep itself
}
ALLOWED["callback"] = ({"hydra", "omegaconf", "mlflow", "numpy"}, {*ALLOWED, "callback"})
ALLOWED["run"] = ({"hydra", "omegaconf", "tensorflow"}, set(ALLOWED))

Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """The source of run.py and of every module, by its name inside the package: "faces.people"."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if len(parts) > 1 and parts[-1] == "__init__":
            parts = parts[:-1]
        found[".".join(parts)] = path.read_text()
    return found | {"run": (ROOT / "run.py").read_text()}


def imported(source: str, modules: Sources, package: str = "sweep") -> set[str]:
    """The dotted names that `source`, standing in `package`, imports; modules of ours in full."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            way = package.split(".")
            start = way[: len(way) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}".removeprefix("sweep.")
                names.add(f"sweep.{inside}" if inside in modules else base)
    return {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}


def graph(modules: Sources) -> dict[str, set[str]]:
    """What each module imports."""
    imports = {}
    for name, source in modules.items():
        nested = any(other.startswith(f"{name}.") for other in modules)
        package = f"sweep.{name}" if nested else f"sweep.{name}".rpartition(".")[0]
        imports[name] = imported(source, modules, package)
    return imports


def violations(modules: Sources) -> list[str]:
    """A sentence for each import that `ALLOWED` does not allow, and for each unlisted module."""
    wrong = []
    for name, imports in graph(modules).items():
        listed = ALLOWED.get(name.split(".")[0])
        if listed is None:
            wrong.append(f"{name} is not listed")
            continue
        libraries, ours = listed
        for what in imports:
            library, _, module = what.partition(".")
            if library != "sweep":
                allowed = library in libraries
            else:
                allowed = ours is not None and module.split(".")[0] in {"", *ours}
            if not allowed:
                wrong.append(f"{name} imports {what}")
    return sorted(wrong)


def reached(name: str, imports: Mapping[str, set[str]]) -> set[str]:
    """The libraries that `name` imports, itself or through other modules of the package."""
    libraries, seen, todo = set(), set(), {name}
    while todo:
        module = todo.pop()
        seen.add(module)
        for what in imports[module]:
            library, _, inner = what.partition(".")
            if library == "sweep":
                todo |= {inner or "__init__"} - seen
            else:
                libraries.add(library)
    return libraries


SOURCES = sources()


def test_every_module_imports_only_what_it_may():
    assert violations(SOURCES) == []


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("metrics", "import h5py", "metrics imports h5py"),
        ("metrics", "from sweep import files", "metrics imports sweep.files"),
        ("metrics", "from sweep.networks import plain", "metrics imports sweep.networks"),
        ("metrics", "from . import networks", "metrics imports sweep.networks"),
        ("metrics", "from .networks import plain", "metrics imports sweep.networks"),
        ("metrics", "def later():\n    import keras.layers", "metrics imports keras.layers"),
        ("metrics", "if 0:\n    from scipy.stats import norm", "metrics imports scipy.stats"),
        ("faces.people", "import keras", "faces.people imports keras"),
        ("settings", "import numpy", "settings imports numpy"),
        ("networks", "from omegaconf import DictConfig", "networks imports omegaconf"),
        ("tracking", "import hydra", "tracking imports hydra"),
        ("goodnet_pyfunc", "from sweep import BadInput", "goodnet_pyfunc imports sweep"),
        ("goodnet_pyfunc", "from sweep import metrics", "goodnet_pyfunc imports sweep.metrics"),
        ("run", "import mlflow", "run imports mlflow"),
        ("unheard_of", "import os", "unheard_of is not listed"),
    ],
)
def test_the_rule_is_broken_by_a_source_that_breaks_it(name, line, says):
    broken = SOURCES | {name: f"{SOURCES.get(name, '')}\n{line}\n"}
    assert violations(broken) == [says]


def test_the_rule_is_kept_by_a_source_that_keeps_it():
    line = "import math, numpy.linalg\nfrom sweep import BadInput, stops\nfrom . import orders\n"
    assert violations(SOURCES | {"metrics": line}) == []


def test_only_existing_modules_are_listed():
    assert set(ALLOWED) == {name.split(".")[0] for name in SOURCES}


def test_hydra_stands_in_run_and_callback_alone():
    used = {
        name
        for name, imports in graph(SOURCES).items()
        if {what.split(".")[0] for what in imports} & {"hydra", "omegaconf"}
    }
    assert {name.split(".")[0] for name in used} == {"run", "callback"}


@pytest.mark.parametrize("name", [name for name in SOURCES if name.split(".")[0] in NUMPY])
def test_the_numpy_parts_reach_nothing_but_numpy(name):
    assert reached(name, graph(SOURCES)) <= {"numpy"}


BELOW = KERAS | FILES | {"gtsrb", "settings", "figures", "charts", "pictures", "pairs"}


@pytest.mark.parametrize("name", sorted(BELOW))
def test_the_parts_below_tracking_reach_neither_hydra_nor_mlflow(name):
    assert not reached(name, graph(SOURCES)) & {"hydra", "omegaconf", "mlflow"}


def test_what_is_reached_through_another_module_is_found():
    chain = {"metrics": "from sweep import stops", "stops": "from sweep import curve"}
    assert "curve" not in chain
    through = SOURCES | chain | {"curve": "def later():\n    import mlflow.keras\n"}
    assert reached("metrics", graph(through)) == {"mlflow"}


def test_imports_run_one_way_without_a_circle():
    below = {
        name: {what.removeprefix("sweep.") for what in imports if what.startswith("sweep.")}
        for name, imports in graph(SOURCES).items()
    }
    while below:
        free = {name for name, imports in below.items() if not imports & set(below)}
        assert free, f"a circle among {sorted(below)}"
        below = {name: imports for name, imports in below.items() if name not in free}


def test_importing_the_numpy_parts_loads_no_other_library():
    code = "\n".join(f"import sweep.{name}" for name in sorted(NUMPY))
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()
    assert "numpy" in loaded
    libraries = set().union(*(libraries for libraries, _ in ALLOWED.values()))
    assert not set(loaded) & (libraries - {"numpy"})


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_module_is_longer_than_300_lines(name):
    assert len(SOURCES[name].splitlines()) <= (99 if name == "run" else 300)


def undocumented(source: str) -> list[str]:
    """The public functions and classes of a module, and the module, that say nothing of what."""
    module = ast.parse(source)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [n for n in module.body if isinstance(n, kinds) and not n.name.startswith("_")]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    return silent if ast.get_docstring(module) else ["module", *silent]


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"run"}))
def test_every_public_function_and_class_is_documented(name):
    assert undocumented(SOURCES[name]) == []


def test_what_is_not_documented_is_found():
    source = 'def told():\n    """Said."""\ndef silent(): ...\ndef _own(): ...\nclass Also: ...\n'
    assert undocumented(source) == ["module", "silent", "Also"]


# What the configuration names


def named(target: str) -> bool:
    """Whether `target` ("sweep.orders.random") is bound at the top of a module of the package."""
    module, _, name = target.removeprefix("sweep.").rpartition(".")
    if module not in SOURCES:
        return False
    bound = set()
    for node in ast.parse(SOURCES[module]).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name for alias in node.names}
    return name in bound


def targets(node: object) -> list[str]:
    """All values of `_target_` in a configuration."""
    if isinstance(node, Mapping):
        own = [node["_target_"]] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]
    return [target for value in node for target in targets(value)] if type(node) is list else []


YAMLS = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.glob("conf/**/*.yaml"))}
STRATEGIES = [name for name in YAMLS if Path(name).parent.name in ("order", "stop")]


@pytest.mark.parametrize("name", YAMLS)
def test_every_target_that_a_yaml_names_exists(name):
    loaded = OmegaConf.to_container(OmegaConf.load(YAMLS[name]), resolve=False)
    assert [target for target in targets(loaded) if not named(target)] == []


def test_a_target_that_does_not_exist_is_found():
    assert targets({"a": [{"_target_": "sweep.orders.nothing"}]}) == ["sweep.orders.nothing"]
    assert not named("sweep.orders.nothing")
    assert not named("sweep.nothing.random")
    assert named("sweep.orders.random")


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_yaml_of_an_order_or_a_stop_names_the_function_of_its_own_name(name):
    loaded = OmegaConf.load(YAMLS[name])
    assert loaded["_target_"].rpartition(".")[2] == Path(name).stem
    assert loaded["_partial_"] is True


@pytest.mark.parametrize(
    ("module", "group", "first"),
    [(orders, "order", "evidence"), (learned, "order", "evidence"), (stops, "stop", "curve")],
)
def test_every_order_and_every_stop_has_a_yaml(module, group, first):
    functions = [
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if next(iter(inspect.signature(function).parameters), None) == first
    ]
    assert functions
    assert {f"conf/prune/{group}/{name}.yaml" for name in functions} <= set(YAMLS)

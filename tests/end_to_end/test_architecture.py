"""The layout as a test: which package may import what, how large each is, what is documented.

`LEVELS` is the contract of docs/architecture.md: a package, or a module at the top of `sweep`,
imports from the levels below its own alone, so that no circle runs between packages. Imports are
read from the source, nested ones too; those for annotations alone (TYPE_CHECKING) do not count.
"""

import ast
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import sweep
from sweep import orders, probes, repairs, stops
from sweep.pruning import activations
from sweep.pruning.requirements import code_of
from sweep.training import defender

PACKAGE = Path(sweep.__file__).parent
ROOT = PACKAGE.parent

#: From the bottom up: each package or module of a level, and the libraries that it may import.
LEVELS: list[dict[str, set[str]]] = [
    {
        "__init__": set(),
        "checked": set(),
        "interrupts": set(),
        "processes": {"psutil"},
        "redaction": set(),
    },
    {"files": {"filelock"}, "terminal": {"rich"}},
    {"cache": {"numpy"}},
    {
        "attacks": {"numpy"},
        "evaluation": {"numpy"},
        "search": {"numpy", "optuna"},
        "networks": {"h5py", "keras", "numpy", "tensorflow"},
    },
    {"data": {"PIL", "h5py", "numpy"}},
    {"training": {"keras", "numpy", "tensorflow"}},
    {"pruning": {"keras", "numpy", "tensorflow"}},
    {
        "adaptive": {"keras", "numpy", "tensorflow"},
        "badnets": {"keras", "numpy", "tensorflow"},
        "detectors": {"keras", "numpy"},
        "estimation": {"numpy"},
        "inspection": {"keras", "numpy", "tensorflow"},
        "rechecking": {"keras", "numpy"},
        "orders": {"numpy", "tensorflow"},
        "probes": {"keras", "numpy"},
        "repairs": {"keras", "numpy"},
        "stops": {"numpy"},
        "tracking": {"keras", "matplotlib", "mlflow", "numpy", "requests", "sqlalchemy"}
        | {"pandas", "pydantic_core", "tensorflow"},  # of the model that is served
    },
    {
        "launching": {
            "filelock",
            "hydra",
            "joblib",
            "keras",
            "mlflow",
            "omegaconf",
            "submitit",
            "tensorflow",
        },
        "results": {"matplotlib", "mlflow", "numpy", "pandas"},
        "implants": {"keras", "numpy"},
        "strategies": set(),
        "gtsrb": set(),
    },
    {
        "cleanup": {"mlflow", "requests"},
        "deployment": {"PIL", "h5py", "keras", "mlflow", "numpy", "tensorflow"}
        | {"onnx", "onnxruntime"},  # the extra
        "registry": {"mlflow"},
        "report": {"PIL", "mlflow", "numpy"},
    },
    {
        "classify": set(),
        "cli": {"hydra", "keras", "mlflow", "numpy", "omegaconf", "pydantic"},
        "export": set(),
        "paired": set(),
        "register": set(),
        "view": set(),
    },
    {"run": {"hydra", "omegaconf", "tensorflow"}},
]

#: Modules that are commands of a few lines, `python -m sweep.NAME`.
COMMANDS = {"classify", "export", "gtsrb", "paired", "register", "view"}
#: Imports nothing of this package, so that a logged model works where the package is not.
ALONE = "tracking.goodnet_pyfunc"
LIBRARIES = {name: libraries for level in LEVELS for name, libraries in level.items()}
LEVEL = {name: number for number, level in enumerate(LEVELS) for name in level}

Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """The source of run.py and of every module, by its dotted name inside the package."""
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
    tree = ast.parse(source)
    annotations = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in annotations:
            continue
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
    if modules is SOURCES and IMPORTS:
        return IMPORTS
    imports = {}
    for name, source in modules.items():
        nested = any(other.startswith(f"{name}.") for other in modules)
        package = f"sweep.{name}" if nested else f"sweep.{name}".rpartition(".")[0]
        imports[name] = imported(source, modules, package)
    return imports


def violations(modules: Sources) -> list[str]:
    """A sentence for each import that `LEVELS` does not allow, and for each module not listed."""
    wrong = []
    for name, imports in graph(modules).items():
        here = name.split(".")[0]
        if here not in LEVEL:
            wrong.append(f"{name} is not listed")
            continue
        for what in imports:
            library, _, module = what.partition(".")
            there = module.split(".")[0] or "__init__"
            if library != "sweep":
                allowed = library in LIBRARIES[here]
            elif name == ALONE:
                allowed = False
            else:
                allowed = there == here or LEVEL[there] < LEVEL[here]
            if not allowed:
                wrong.append(f"{name} imports {what}")
    return sorted(wrong)


def reached(name: str, imports: Mapping[str, set[str]]) -> set[str]:
    """The libraries that `name` imports, itself or through other modules of the package.

    The `__init__` of each package on the way is imported too.
    """
    libraries, seen, todo = set(), set(), {name}
    while todo:
        module = todo.pop()
        seen.add(module)
        around = module.split(".")
        todo |= {".".join(around[:depth]) for depth in range(1, len(around))} - seen
        for what in imports[module]:
            library, _, inner = what.partition(".")
            if library == "sweep":
                todo |= {inner or "__init__"} - seen
            else:
                libraries.add(library)
    return libraries


SOURCES = sources()
IMPORTS: dict[str, set[str]] = {}
IMPORTS |= graph(SOURCES)
PACKAGES = sorted({name.rpartition(".")[0] for name in SOURCES if "." in name})


def modules_of(package: str) -> list[str]:
    """The modules of a package, those of packages inside it and its `__init__` aside."""
    return [
        name
        for name in SOURCES
        if name.rpartition(".")[0] == package and name not in PACKAGES and name != "__init__"
    ]


def test_every_package_imports_only_from_the_levels_below():
    assert violations(SOURCES) == []


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("evaluation.metrics", "import h5py", "evaluation.metrics imports h5py"),
        ("cache", "from sweep import networks", "cache imports sweep.networks"),
        ("stops", "from sweep.orders.weights import clp", "stops imports sweep.orders.weights"),
        ("networks.graph", "from sweep import data", "networks.graph imports sweep.data"),
        ("networks.graph", "from ..data import h5", "networks.graph imports sweep.data"),
        ("evaluation.curve", "from ..data import hdf5", "evaluation.curve imports sweep.data.hdf5"),
        ("stops", "def later():\n    import keras.layers", "stops imports keras.layers"),
        ("stops", "if 0:\n    from scipy.stats import norm", "stops imports scipy.stats"),
        ("data.faces.identities", "import keras", "data.faces.identities imports keras"),
        ("badnets", "from omegaconf import DictConfig", "badnets imports omegaconf"),
        ("tracking.log", "import hydra", "tracking.log imports hydra"),
        (ALONE, "from sweep import BadInput", f"{ALONE} imports sweep"),
        (ALONE, "from sweep.tracking import store", f"{ALONE} imports sweep.tracking.store"),
        ("run", "import mlflow", "run imports mlflow"),
        ("unheard_of", "import os", "unheard_of is not listed"),
        ("unheard.of", "import os", "unheard.of is not listed"),
    ],
)  # fmt: skip
def test_the_rule_is_broken_by_a_source_that_breaks_it(name, line, says):
    broken = SOURCES | {name: f"{SOURCES.get(name, '')}\n{line}\n"}
    assert violations(broken) == [says]


def test_the_rule_is_kept_by_a_source_that_keeps_it():
    lines = (
        "import math, numpy.linalg\nfrom sweep import BadInput, evaluation\nfrom . import data\n"
    )
    lines += "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sweep import orders\n"
    assert violations(SOURCES | {"stops": lines}) == []


def test_only_existing_modules_are_listed():
    assert set(LEVEL) == {name.split(".")[0] for name in SOURCES}


def test_hydra_stands_at_the_top_alone():
    used = {
        name
        for name, imports in graph(SOURCES).items()
        if {what.split(".")[0] for what in imports} & {"hydra", "omegaconf"}
    }
    assert {name.split(".")[0] for name in used} == {"run", "cli", "launching"}


def test_the_top_has_at_most_14_modules_and_no_package_more_than_11():
    top = set(modules_of("")) - COMMANDS - {"run"}
    assert len(top) <= 14, top
    crowded = {package: modules_of(package) for package in PACKAGES if package}
    assert {package for package, modules in crowded.items() if len(modules) > 11} == set()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_at_the_top_has_a_few_lines(name):
    assert len(SOURCES[name].splitlines()) <= 10


NUMPY = ("attacks", "evaluation", "stops", "data.faces")


@pytest.mark.parametrize("name", NUMPY)
def test_the_numpy_parts_reach_nothing_but_numpy(name):
    parts = [part for part in SOURCES if f"{part}.".startswith(f"{name}.")]
    # data.faces lies in a package whose other modules read files
    imports = graph(SOURCES) | ({"data": set()} if name == "data.faces" else {})
    assert set().union(*(reached(part, imports) for part in parts)) <= {"numpy"}


def test_orders_but_the_learned_ones_import_numpy_alone():
    for name in modules_of("orders"):
        if name != "orders.learned":
            own = {what.split(".")[0] for what in graph(SOURCES)[name]} - {"sweep"}
            assert own <= {"numpy"}, name


BELOW = [name for level in LEVELS[: LEVEL["stops"] + 1] for name in level if name != "tracking"]


@pytest.mark.parametrize("name", BELOW)
def test_the_parts_below_tracking_reach_neither_hydra_nor_mlflow(name):
    imports = graph(SOURCES)
    parts = [part for part in SOURCES if part == name or part.startswith(f"{name}.")]
    found = set().union(*(reached(part, imports) for part in parts))
    assert not found & {"hydra", "omegaconf", "mlflow", "matplotlib"}


def test_the_results_load_without_keras():
    code = (
        "import sweep.results.pages, sweep.results.paired, sweep.report, sys; print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()
    assert "mlflow" in loaded
    assert not {"tensorflow", "keras"} & set(loaded)


def test_what_is_reached_through_another_module_is_found():
    chain = {"stops": "from sweep.evaluation import metrics"}
    through = SOURCES | chain | {"evaluation.metrics": "def later():\n    import mlflow.keras\n"}
    assert "mlflow" in reached("stops", graph(through))
    package = SOURCES | {"evaluation": "import h5py"}
    assert "h5py" in reached("evaluation.metrics", graph(package))


#: Tools that change no number, and types alone.
TOOLS = {"__init__", "cache", "files", "interrupts", "processes", "redaction", "terminal"}


@pytest.mark.parametrize(
    ("makers", "made_by"),
    [
        (["training"], defender.MADE_BY),
        (["pruning"], {*activations.MADE_BY, "training"}),  # which an order that trains brings
        (["orders"], {*activations.MADE_BY, *code_of(orders.clp)}),
    ],
)
def test_what_is_kept_is_named_by_every_package_that_its_makers_import(makers, made_by):
    """An entry of the cache must be made anew where any code changes that it comes from."""
    used, todo = set(), set(makers)
    while todo:
        package = todo.pop()
        used.add(package)
        for name, imports in IMPORTS.items():
            if name.split(".")[0] == package:
                ours = {what.split(".")[1] for what in imports if what.startswith("sweep.")}
                todo |= ours - used - TOOLS
    assert used - {"attacks"} <= {*made_by}  # attacks make images, which their digest names


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
    code = "import sweep.attacks, sweep.evaluation, sweep.stops"
    code += "\nimport sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()
    assert "numpy" in loaded
    assert not set(loaded) & (set().union(*LIBRARIES.values()) - {"numpy"})


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_no_module_is_longer_than_300_lines(name):
    assert len(SOURCES[name].splitlines()) <= (120 if name == "run" else 300)


def test_benchmarks_find_what_they_import_from_the_folder_that_is_theirs():
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    code = f"import {', '.join(names)}; print(all(m.main for m in ({', '.join(names)})))"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'benchmarks'); {code}"]
    assert subprocess.check_output(command, text=True, cwd=ROOT).strip() == "True"


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


def test_no_submodule_bears_the_name_of_what_its_package_exports():
    for package in PACKAGES:
        bound = exported(package) if package else set()
        inside = {name.rpartition(".")[2] for name in SOURCES if name.rpartition(".")[0] == package}
        assert not bound & inside, package


def exported(package: str) -> set[str]:
    """The names in `__all__` of a package; none where it has no such list."""
    for node in ast.parse(SOURCES[package]).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


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


#: Of the program's own choices; conf/hydra holds keys for plugins of Hydra's.
YAMLS = {
    str(path.relative_to(ROOT)): path
    for path in sorted(ROOT.glob("conf/**/*.yaml"))
    if "hydra" not in path.parts[len(ROOT.parts) :]
}
STRATEGIES = [name for name in YAMLS if Path(name).parent.name in ("order", "stop")]


@pytest.mark.parametrize("name", YAMLS)
def test_every_target_that_a_yaml_names_exists_and_is_short(name):
    loaded = OmegaConf.to_container(OmegaConf.load(YAMLS[name]), resolve=False)
    assert [target for target in targets(loaded) if not named(target)] == []
    assert [target for target in targets(loaded) if target.count(".") > 2] == []


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


def functions(module: str, first: str) -> set[str]:
    """The public functions defined in a module, or a package, whose first parameter is `first`."""
    parts = [part for part in SOURCES if part == module or part.startswith(f"{module}.")]
    nodes = [node for part in parts for node in ast.parse(SOURCES[part]).body]
    return {
        node.name
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and not node.name.startswith("_")
        and [one.arg for one in node.args.args][:1] == [first]
    }


@pytest.mark.parametrize(
    ("module", "group", "first"), [("orders", "order", "evidence"), ("stops", "stop", "curve")]
)
def test_every_order_and_every_stop_has_a_yaml(module, group, first):
    found = functions(module, first)
    assert found
    assert {f"conf/prune/{group}/{name}.yaml" for name in found} <= set(YAMLS)


def test_every_order_repair_and_probe_is_in_its_catalogue():
    assert {order.__name__ for order in orders.CATALOGUE} == functions("orders", "evidence")
    assert {repair.__name__ for repair in repairs.CATALOGUE} == functions("repairs", "defender")
    assert {probe.__name__ for probe in probes.CATALOGUE} == functions("probes", "attacker")
    assert {name for name in functions("stops", "curve") if not hasattr(stops, name)} == set()

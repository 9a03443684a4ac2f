"""What the Markdown pages say is there: links, anchors, commands, files, and the drawn packages."""

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

ROOT = next(path for path in Path(__file__).resolve().parents if (path / "run.py").is_file())
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
#: What the program writes from runs: it names commands and modules as they were then.
WRITTEN = {
    ROOT / "docs" / name for name in ("results/answer.md", "results/strategies.md", "strategies.md")
}
#: Told of versions that are past.
PAST = {ROOT / "CHANGELOG.md"}
HAND = [path for path in PAGES if path not in WRITTEN | PAST]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)


def links(path: Path) -> list[str]:
    """Where a page's links and pictures lead, as they are written."""
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    return re.findall(r"\]\(\s*<?([^)>\s]+)>?\s*\)", text)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", prose(path), re.M):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading).strip().lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {f"{a}-{i}" if i else a for a, count in found.items() for i in range(count + 1)}


def target(page: Path, link: str) -> Path:
    return (page.parent / link.partition("#")[0]).resolve() if link[0] != "#" else page


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for link in links(page):
        if re.match(r"https?://|mailto:", link):
            continue
        place = target(page, link)
        assert place.exists(), f"{link}: no such file"
        assert place.is_relative_to(ROOT), f"{link} leads out of the repository"
        anchor = link.partition("#")[2]
        assert not anchor or anchor in anchors(place), f"{link}: no such heading"


def test_the_readme_is_short_and_leads_to_every_page():
    readme = ROOT / "README.md"
    assert len(readme.read_text().splitlines()) <= 200
    reached, todo = set(), [readme]
    while todo:
        page = todo.pop()
        reached.add(page)
        found = {target(page, link) for link in links(page) if "://" not in link}
        todo += [path for path in found if path.suffix == ".md" and path not in reached]
    assert set(PAGES) - reached <= set(ROOT.glob(".github/**/*.md"))


def commands(path: Path) -> Iterator[str]:
    """All commands that a page shows: lines of its shell blocks, and code in its text."""
    for block in re.findall(r"^```(?:sh|bash)\n(.*?)^```$", path.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            yield from (part.strip() for part in line.split("&&"))
    for code in re.findall(r"`(python [^`]+)`", prose(path)):
        yield " ".join(code.split())


@pytest.mark.parametrize("page", [path for path in PAGES if path not in PAST], ids=name)
def test_the_python_modules_and_files_that_commands_name_are_there(page):
    for command in commands(page):
        first, *rest = command.split() or [""]
        if first == "python" and rest[0] == "-m":
            module = rest[1]
            found = importlib.util.find_spec(module)
            assert found is not None, command
            if found.submodule_search_locations is not None:
                assert importlib.util.find_spec(f"{module}.__main__") is not None, command
        elif first == "python" and rest[0].endswith(".py"):
            path = rest[0].removeprefix("../prunesweep/")  # in a folder beside this one
            assert (ROOT / path).is_file(), command


@pytest.mark.parametrize("page", [path for path in PAGES if path not in PAST], ids=name)
def test_what_commands_set_can_be_composed(page, monkeypatch):
    monkeypatch.setenv("PROJECT_ROOT", str(ROOT))
    if page.name == "extending.md":
        pytest.skip("test_extending.py runs these")
    for command in set(commands(page)):
        if not command.startswith("python run.py"):
            continue
        given = [word for word in shlex.split(command, comments=True)[2:] if "=" in word]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            cells = []
            for one in OverridesParser.create(loader).parse_overrides(given):
                key, _, value = one.input_line.partition("=")
                values = one.sweep_string_iterator() if one.is_sweep_override() else [value]
                cells.append([f"{key}={value}" for value in values])
            for place in (0, -1):
                compose("config", overrides=[values[place] for values in cells])


#: Folders in code that are no part of this repository, or metrics, and files of somebody's own.
ELSEWHERE = {"outputs/", "mlruns/", "data/", "models/", "curve/", "tradeoff/", "layers.py"}


def test_the_hooks_before_a_commit_are_the_gates_own_checks():
    hooks = OmegaConf.load(ROOT / ".pre-commit-config.yaml").repos[0].hooks
    entries = [hook.entry.replace(" --force-exclude", "") for hook in hooks]
    (gate,) = re.findall(r"^ruff check .*$", (ROOT / "README.md").read_text(), re.M)
    quick = [check.strip().removesuffix(" .") for check in gate.split("&&")]
    assert entries == [check for check in quick if not check.startswith("python -m pytest")]


def test_the_files_that_pages_name_are_there():
    ours = r"[\w./-]+\.py|(?:sweep|conf|tests|docs|benchmarks)/[\w./-]+|\w+/"
    missing = {}
    for page in HAND:
        text = re.sub(r"`[^`\n]+`:$", "", prose(page), flags=re.M)  # what an example is to write
        told = set(re.findall(rf"`({ours})`", text)) - ELSEWHERE
        places = (ROOT, ROOT / "sweep", page.parent)
        lacking = [code for code in told if not any((place / code).exists() for place in places)]
        missing |= {name(page): sorted(lacking)} if lacking else {}
    assert missing == {}


def packages() -> dict[str, set[str]]:
    """What each package, or module at the top, of `sweep` imports of the others."""
    root = ROOT / "sweep"
    found: dict[str, set[str]] = {}
    for path in [*root.rglob("*.py"), ROOT / "run.py"]:
        here = path.relative_to(root).parts[0] if path.is_relative_to(root) else path.name
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sweep":
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                whole = [alias.name for alias in node.names if alias.name.startswith("sweep.")]
            else:
                continue
            own = found.setdefault(here.removesuffix(".py"), set())
            for module in whole:
                part = module.split(".")[1]
                own |= {part} if any(root.glob(f"{part}*")) else {"__init__"}
    return {here: others - {here} for here, others in found.items()}


def drawn() -> tuple[dict[str, str], dict[str, set[str]]]:
    """The boxes of the diagram with their text, and its arrows."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (diagram,) = re.findall(r"^```mermaid\n(.*?)^```$", page, re.M | re.S)
    boxes = dict(re.findall(r'^ *(\w+)\["(.*)"\]$', diagram, re.M))
    arrows: dict[str, set[str]] = {box: set() for box in boxes}
    for start, end in re.findall(r"^ *([\w &]+?) --> ([\w &]+)$", diagram, re.M):
        for box in start.split(" & "):
            arrows[box] |= set(end.split(" & "))
    return boxes, arrows


def below(box: str, arrows: dict[str, set[str]]) -> set[str]:
    return arrows[box].union(*(below(other, arrows) for other in arrows[box]))


def test_the_diagram_draws_the_packages_and_their_arrows_down():
    boxes, arrows = drawn()
    assert {box for ends in arrows.values() for box in ends} < set(boxes)
    order = list(boxes)
    for box, ends in arrows.items():
        assert all(order.index(box) < order.index(end) for end in ends), f"{box} points up"
    tools = {*re.findall(r"\w+", boxes["tools"]), "__init__"}
    there: dict[str, set[str]] = {}
    for here, others in packages().items():
        box = "tools" if here in tools else here
        ends = {"tools" if other in tools else other for other in others}
        there[box] = there.get(box, set()) | ends - {box}
    commands = {box for box in there if (ROOT / "sweep" / f"{box}.py").is_file()} - set(boxes)
    assert set(there) - commands <= set(boxes)
    for box, ends in there.items():
        if box in boxes:
            assert ends <= below(box, arrows), f"{box} imports what the diagram does not show"
    for box, ends in arrows.items():
        for end in ends:
            assert end in there[box], f"{box} --> {end} is drawn and not there"

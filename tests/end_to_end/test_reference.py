"""docs/reference.md is complete: every key with its default, every choice, every exit code.

That what a run leaves is described there too is seen in test_extending.py, which runs the program.
"""

import ast
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel

from sweep import interrupts
from sweep.cli.schema import Settings

ROOT = next(path for path in Path(__file__).resolve().parents if (path / "run.py").is_file())
CONF = ROOT / "conf"
PAGE = (ROOT / "docs" / "reference.md").read_text()
HYDRAS = {"_target_", "_partial_", "_convert_"}
#: Groups whose choices bring keys of their own, by the heading of the page's column.
GROUPS = ("data", "attack", "badnet", "prune/order", "prune/stop", "repair", "goodnet", "detector")
GROUPS += ("probe", "search")
LISTS = ("repair", "probe")  # of which several may be chosen

Row = dict[str, str]


def tables(page: str, *headings: str) -> list[list[Row]]:
    """All tables that have these columns, each row by its columns."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", page, re.M):
        head, _, *lines = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        if set(headings) <= set(head):
            found.append([dict(zip(head, line, strict=True)) for line in lines])
    return found


def codes(cell: str) -> list[str]:
    """What stands in a cell as code."""
    return re.findall(r"`([^`]*)`", cell)


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


def flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every key that can be set, and its value as somebody would write it."""
    for name, value in node.items():
        if name in HYDRAS | {"hydra"}:
            continue
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        elif not (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield f"{prefix}{name}", written(value)


def written(value: Any) -> str:
    """A default as the page shows it.

    >>> written(None), written(False), written([1, "a"]), written("${prune.frac}")
    ('null', 'false', '[1, a]', 'prune.frac')
    """
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value).removeprefix("${oc.env:PROJECT_ROOT}/")
    return re.sub(r"^\$\{(.*)\}$", r"\1", text)


def keys_of(group: str, choice: str) -> dict[str, str]:
    """The keys and defaults that `group=choice` brings."""
    value = f"[{choice}]" if group in LISTS else choice
    config = OmegaConf.to_container(composed(f"{group}={value}"), resolve=False)
    prefix = f"{group.replace('/', '.')}."
    keys = {key: default for key, default in flat(config) if key.startswith(prefix)}
    space = [key for key in keys if key.startswith("search.space.")]  # one key on the page
    keys |= {"search.space": "conf/search/"} if space else {}
    return {key: default for key, default in keys.items() if key not in space}


def keys_on_the_page(group: str, choice: str) -> dict[str, str]:
    head = f"`{group}=`"
    rows = [row for table in tables(PAGE, "key", head) for row in table]
    mine = [row for row in rows if row[head] == "every" or choice in codes(row[head])]
    found = [(codes(row["key"])[0], codes(row["default"])[0]) for row in mine]
    assert len(found) == len(dict(found)), "a key stands twice for one choice"
    return dict(found)


@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group in GROUPS for choice in choices(group)]
)
def test_the_keys_of_a_choice_are_on_the_page_with_their_defaults_and_no_others(group, choice):
    assert keys_on_the_page(group, choice) == keys_of(group, choice)


def test_the_choices_that_rows_name_are_there():
    for group in GROUPS:
        head = f"`{group}=`"
        for table in tables(PAGE, "key", head):
            named = {choice for row in table for choice in codes(row[head])}
            assert named <= set(choices(group))


def test_all_other_keys_are_on_the_page_with_their_defaults_and_no_others():
    config = OmegaConf.to_container(composed(), resolve=False)
    own = tuple(f"{group.replace('/', '.')}." for group in GROUPS)
    there = {key: default for key, default in flat(config) if not key.startswith(own)}
    rows = [row for table in tables(PAGE, "key", "default") if len(table[0]) == 3 for row in table]
    assert {codes(row["key"])[0]: codes(row["default"])[0] for row in rows} == there


def fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of the table of settings, and what it may be."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def words(kind: Any) -> set[str]:
    """The words that a value may be, where it is one of some."""
    if get_origin(kind) is Literal:
        return set(get_args(kind))
    return set().union(*map(words, get_args(kind)))


def test_every_key_that_is_checked_is_on_the_page_and_so_are_the_words_it_may_be():
    rows = {}
    for row in [row for table in tables(PAGE, "key", "default") for row in table]:
        rows.setdefault(codes(row["key"])[0], []).append(" ".join(row.values()))
    # a repair's settings are one table for all that train; each has those that it takes
    checked = {key: kind for key, kind in fields(Settings) if not key.startswith("repair.finetune")}
    assert set(checked) <= set(rows)
    for key, kind in checked.items():
        for word in words(kind):
            assert f"`{word}`" in " ".join(rows[key]), f"{key}={word}"


def test_groups_stand_with_their_default_and_all_their_choices():
    (table,) = tables(PAGE, "group", "choices")
    hydra = composed().hydra.runtime.choices
    there = {path.parent.relative_to(CONF).as_posix() for path in CONF.glob("*/**/*.yaml")}
    there -= {"hydra/launcher", "hydra/sweeper"}  # Hydra's own, see docs/scaling.md, docs/search.md
    assert {codes(row["group"])[0] for row in table} == there
    for row in table:
        group, default = codes(row["group"])[0], codes(row["default"])[0]
        assert default == ("[]" if group in LISTS else written(hydra[group]))
        assert set(choices(group)) <= set(codes(row["choices"]))


def test_exit_codes_are_those_of_the_code():
    (table,) = tables(PAGE, "code")
    by_signal = {128 + number for number in (*interrupts.SIGNALS, signal.SIGPIPE)}
    written_down = set()
    for path in (ROOT / "sweep").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SystemExit":
                written_down |= {one.value for one in node.args if isinstance(one, ast.Constant)}
    assert written_down == {0, 1, 2}
    assert {int(row["code"]) for row in table} == written_down | by_signal

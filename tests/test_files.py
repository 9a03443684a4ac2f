"""Files are whole or not there, and a key says what made a file."""

import importlib
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock, Timeout

import sweep
from sweep import attacks, files
from sweep.attacks import Attack, poison, sunglasses

ROOT = Path(sweep.__file__).parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_folder(folder: Path, **texts: str) -> None:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)


def test_a_file_takes_its_place_with_its_parents_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "deep" / "file.txt"
    with files.atomic_write(path) as unfinished:
        unfinished.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert names(path.parent) == ["file.txt"]


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with files.atomic_write(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_takes_the_place_of_an_older_one_with_nothing_of_it_left(tmp_path):
    path = tmp_path / "folder"
    write_folder(path, old="1", both="1")
    with files.atomic_write(path) as unfinished:
        write_folder(unfinished, both="2", new="2")
        assert names(path) == ["both", "old"]
    assert names(path) == ["both", "new"]
    assert (path / "both").read_text() == "2"
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_nothing_new_of_a_file(tmp_path, error):
    def fail() -> None:
        with files.atomic_write(tmp_path / "file.txt") as unfinished:
            unfinished.write_text("half of")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_an_older_folder_as_it_was(tmp_path, error):
    path = tmp_path / "folder"
    write_folder(path, old="1")

    def fail() -> None:
        with files.atomic_write(path) as unfinished:
            write_folder(unfinished, new="2")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["folder"]
    assert names(path) == ["old"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_writing_nothing_fails_and_leaves_what_was_there(tmp_path, kind):
    path = tmp_path / "kept"
    if kind == "file":
        path.write_text("old")
    else:
        write_folder(path, old="1")
    with pytest.raises(FileNotFoundError), files.atomic_write(path):
        pass
    assert names(tmp_path) == ["kept"]
    assert path.read_text() == "old" if kind == "file" else names(path) == ["old"]


def test_what_a_dead_process_had_not_finished_is_deleted_by_the_next_writer(tmp_path):
    code = """
import os, sys
from pathlib import Path
from sweep import files
with files.atomic_write(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("half of")
    os._exit(9)
"""
    path = tmp_path / "deep" / "file.txt"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = path.parent.iterdir()
    assert left.name.startswith(".file.txt~")
    with files.atomic_write(path.with_name("other.txt")) as living:
        living.write_text("all of it")
        assert not left.exists()
        with files.atomic_write(path) as unfinished:
            unfinished.write_text("all of it")
        assert living.exists()
    assert names(path.parent) == ["file.txt", "other.txt"]


def test_a_lock_is_held_against_others_and_given_back_also_after_an_error(tmp_path):
    path = tmp_path / "new" / "net.keras"

    def fail() -> None:
        with files.lock(path):
            (held,) = path.parent.iterdir()
            with pytest.raises(Timeout):
                FileLock(held).acquire(timeout=0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    (given_back,) = path.parent.iterdir()
    with FileLock(given_back).acquire(timeout=0):
        assert not path.exists()


@dataclass(frozen=True)
class Made:
    """Settings as a dataclass."""

    size: int
    path: Path


def settings(**changes: Any) -> list[Any]:
    trigger = partial(sunglasses, white=255.0)
    attack = Attack(**{"trigger": trigger, "target": 0, "rate": 0.1} | changes)
    return [attack, Made(3, Path("a/b")), {"one": 1, "other": [1.5, None]}]


def test_a_key_is_twelve_hexadecimal_digits_and_equal_for_equal_settings():
    assert files.key(settings()) == files.key(settings())
    assert len(files.key(settings())) == 12
    int(files.key(settings()), 16)


def test_a_key_does_not_depend_on_the_order_in_which_settings_are_named():
    assert files.key({"a": 1, "b": 2}) == files.key({"b": 2, "a": 1})
    one, other = partial(poison, rate=0.1, seed=0), partial(poison, seed=0, rate=0.1)
    assert files.key(one) == files.key(other)


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_key_is_the_same_in_another_process(hash_seed):
    code = """
from functools import partial
from sweep import attacks, files
attack = attacks.Attack(partial(attacks.sunglasses, white=255.0), target=0, rate=0.1)
print(files.key([attack, {"one": 1, "other": 2}], attacks))
"""
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    told = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)
    attack = settings()[0]
    here = files.key([attack, {"one": 1, "other": 2}], attacks)
    assert told.strip() == here


@pytest.mark.parametrize(
    "changes",
    [
        {"target": 1},
        {"rate": 0.2},
        {"trigger": partial(sunglasses, white=1.0)},
        {"trigger": partial(sunglasses)},
        {"trigger": partial(poison, white=255.0)},
        {"trigger": partial(sunglasses, 3, white=255.0)},
    ],
)
def test_a_key_changes_with_every_setting(changes):
    assert files.key(settings(**changes)) != files.key(settings())


def test_keys_of_numbers_and_of_their_texts_differ():
    assert files.key([1]) != files.key(["1"])


def module(path: Path) -> ModuleType:
    made = ModuleType("made")
    made.__file__ = str(path)
    return made


def test_a_key_changes_with_the_source_that_made_the_file(tmp_path):
    source = tmp_path / "made.py"
    source.write_text("a = 1")
    before = files.key([], module(source))
    assert before == files.key([], module(source))
    assert before != files.key([])
    source.write_text("a = 2")
    assert files.key([], module(source)) != before


def test_a_key_changes_with_any_source_of_a_package(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    (tmp_path / "part.py").write_text("a = 1")
    before = files.key([], module(tmp_path / "__init__.py"))
    (tmp_path / "part.py").write_text("a = 2")
    assert files.key([], module(tmp_path / "__init__.py")) != before


def test_of_somebody_elses_package_all_sources_count_and_of_ours_those_beside(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    part = tmp_path / "theirs_whole" / "below" / "part.py"
    part.parent.mkdir(parents=True)
    part.write_text("")
    (tmp_path / "theirs_whole" / "orders.py").write_text("")
    assert files.sources("theirs_whole.orders.one") == [part, tmp_path / "theirs_whole/orders.py"]
    theirs = importlib.import_module("theirs_whole.orders")
    before = files.key([], theirs)
    part.write_text("a = 1")
    assert files.key([], theirs) != before
    assert files._sources(files) == [Path(files.__file__)]
    assert files.sources("nowhere.at.all") == []

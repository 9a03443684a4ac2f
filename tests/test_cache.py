"""What is kept is made once, comes back whole or is made anew, and stays within its limits."""

import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sweep import cache as cache_module
from sweep.cache import GB, NAME, Arrays, Cache, opened

KEY = "maps/00ff/00001"


class Maker:
    """Makes an entry, and counts how often; every one differs from the last."""

    def __init__(self, values: int = 2000) -> None:
        self.made, self._values = 0, values

    def __call__(self) -> Arrays:
        self.made += 1
        numbers = np.arange(self._values, dtype=np.float32).reshape(-1, 4)
        return {"0": numbers, "1": np.arange(3) + 7, "none": np.zeros((0, 5))}


def kept(folder: Path, max_gb: float = 1, memory_gb: float = 0) -> Cache:
    return Cache(str(folder), max_gb, memory_gb)


def entry(folder: Path, key: str = KEY) -> Path:
    return folder / f"{key}.npz"


def held(folder: Path) -> int:
    """Bytes of all files under `folder`, whatever their names."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def files_in(folder: Path) -> list[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in paths)


def assert_whole(arrays: Arrays) -> None:
    expected = Maker()()
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape


def age(path: Path, seconds: float) -> None:
    """Let `path` have been used `seconds` ago: clocks of file systems are coarse."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


@pytest.mark.parametrize("memory_gb", [0, 1], ids=["disk", "memory"])
def test_an_entry_is_made_once(memory_gb, tmp_path):
    cache, make = kept(tmp_path, 1, memory_gb), Maker()
    for _ in range(3):
        assert_whole(cache.get_or_compute(KEY, make))
    assert make.made == 1
    assert files_in(tmp_path) == [f"{KEY}.npz"]


def test_another_cache_of_the_same_folder_makes_nothing(tmp_path):
    make = Maker()
    kept(tmp_path).get_or_compute(KEY, make)
    assert_whole(kept(tmp_path).get_or_compute(KEY, make))
    assert make.made == 1


def test_another_process_makes_nothing(tmp_path):
    kept(tmp_path).get_or_compute(KEY, Maker())
    program = (
        "from sweep.cache import Cache\n"
        "def make():\n"
        "    raise AssertionError('made again')\n"
        f"print(Cache({str(tmp_path)!r}, 1).get_or_compute({KEY!r}, make)['0'].sum())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert float(done.stdout) == Maker()()["0"].sum(), done.stderr


def test_each_key_has_an_entry_of_its_own(tmp_path):
    cache = kept(tmp_path, 1, 1)
    for number in range(3):
        cache.get_or_compute(f"a/{number}", lambda number=number: {"x": np.array([number])})
    for number in range(3):
        for other in (cache, kept(tmp_path)):
            assert other.get_or_compute(f"a/{number}", Maker())["x"].tolist() == [number]


@pytest.mark.parametrize("memory_gb", [0, 1], ids=["disk", "memory"])
def test_arrays_are_read_only_made_as_recalled(memory_gb, tmp_path):
    cache = kept(tmp_path, 1, memory_gb)
    for arrays in (cache.get_or_compute(KEY, Maker()), cache.get_or_compute(KEY, Maker())):
        for array in arrays.values():
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 1


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def another_entry(path: Path) -> None:
    kept(path.parent).get_or_compute(
        "other", lambda: {name: x + 1 for name, x in Maker()().items()}
    )
    shutil.copy(path.parent / "other.npz", path)


def another_name(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("2.npy", file.read("0.npy"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"entry.npy", b"enter.npy"))


def no_name(path: Path) -> None:
    np.savez(path, **Maker()())


def not_an_archive(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(2000))


def text(path: Path) -> None:
    path.write_text("no space left on device\n" * 100)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(Maker()()))


def forged(path: Path, name: str, content: bytes) -> None:
    """An entry that is right but for one more array."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{name}.npy", content)


def header(shape: str) -> bytes:
    described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    described += b" " * (117 - len(described)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(described).to_bytes(2, "little") + described


def huge_shape(path: Path) -> None:
    forged(path, "huge", header(f"({10**13},)") + bytes(64))


def overflowing_shape(path: Path) -> None:
    forged(path, "huge", header(f"({2**32}, {2**33})") + bytes(64))


def shape_of_less(path: Path) -> None:
    """A single bit in the header of an array makes this of 800 rows: 100 rows, or none."""
    rows = np.ones((800, 16), np.float32)
    np.savez(path, **{"0": rows, NAME: np.array(KEY)})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(800, 16)", b"(000, 16)"))


def bomb(path: Path) -> None:
    forged(path, "bomb", header(f"({2**24},)") + bytes(2**26))  # 64 MiB of 64 kB


DAMAGES = [truncated, emptied, flipped, another_entry, another_name, no_name, not_an_archive]
DAMAGES += [text, pickled, huge_shape, overflowing_shape, shape_of_less, bomb]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_made_anew_and_is_whole_afterwards(damage, tmp_path):
    make = Maker()
    kept(tmp_path).get_or_compute(KEY, make)
    damage(entry(tmp_path))
    assert_whole(kept(tmp_path).get_or_compute(KEY, make))
    assert make.made == 2
    arrays = kept(tmp_path).get_or_compute(KEY, make)
    assert_whole(arrays)
    assert not any(array.flags.writeable for array in arrays.values())
    assert make.made == 2


def test_a_bit_that_flips_anywhere_is_never_taken_for_what_was_kept(tmp_path):
    make, path = Maker(), entry(tmp_path)
    kept(tmp_path).get_or_compute(KEY, make)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    anywhere = rng.integers(len(whole), size=200)
    headers = [place for place in range(len(whole)) if place < 180 or place > len(whole) - 900]
    for place in {*headers, *anywhere.tolist()}:
        content = bytearray(whole)
        content[place] ^= 1 << rng.integers(8)
        path.write_bytes(content)
        assert_whole(kept(tmp_path).get_or_compute(KEY, make))
    assert make.made > 200


class Exploit:
    """Would write a file if it were ever unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.write_text, (self._path, "ran")


@pytest.mark.parametrize("name", ["0", NAME, "more"])
def test_no_code_of_a_file_runs(name, tmp_path):
    evil = np.array([Exploit(tmp_path / "ran")], dtype=object)
    entry(tmp_path).parent.mkdir(parents=True)
    np.savez(entry(tmp_path), **{**Maker()(), NAME: np.array(KEY), name: evil})
    make = Maker()
    assert_whole(kept(tmp_path).get_or_compute(KEY, make))
    assert make.made == 1
    assert not (tmp_path / "ran").exists()


def test_a_folder_in_the_place_of_an_entry_does_not_stop_the_run(tmp_path):
    entry(tmp_path).mkdir(parents=True)
    (entry(tmp_path) / "file").write_text("in the way")
    make = Maker()
    for _ in range(2):
        assert_whole(kept(tmp_path).get_or_compute(KEY, make))
    assert make.made == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_what_is_interrupted_leaves_nothing_and_the_next_makes_it(error, tmp_path):
    def interrupted() -> Arrays:
        raise error

    cache, make = kept(tmp_path, 1, 1), Maker()
    with pytest.raises(error):
        cache.get_or_compute(KEY, interrupted)
    assert files_in(tmp_path) == []
    assert_whole(cache.get_or_compute(KEY, make))
    assert make.made == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_writing_that_is_interrupted_leaves_nothing(error, tmp_path, monkeypatch):
    def half(path: Path, **arrays: object) -> None:
        Path(path).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(cache_module.np, "savez", half)
    if error is OSError:  # a full disk
        assert_whole(kept(tmp_path).get_or_compute(KEY, Maker()))
    else:
        with pytest.raises(error):
            kept(tmp_path).get_or_compute(KEY, Maker())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_folder_never_holds_more_than_its_limit(tmp_path):
    limit, rng = 1e-5, np.random.default_rng(0)
    cache = kept(tmp_path, limit)
    for number in range(60):
        values = int(rng.integers(0, 2600))
        cache.get_or_compute(
            f"a/{number}", lambda values=values: {"x": np.zeros(values, np.float32)}
        )
        assert held(tmp_path) <= limit * GB
    assert held(tmp_path) > 0


def test_files_of_other_processes_count_too(tmp_path):
    for number in range(5):
        kept(tmp_path).get_or_compute(f"a/{number}", Maker(1000))
    kept(tmp_path, 1e-5).get_or_compute("b", Maker(1000))
    assert held(tmp_path) <= 1e-5 * GB
    assert entry(tmp_path, "b").exists()


def test_the_least_recently_used_goes_first(tmp_path):
    cache = kept(tmp_path, 2.3e-5)
    for number in range(4):  # 5 kB and a little each
        cache.get_or_compute(f"a/{number}", Maker(1000))
        age(entry(tmp_path, f"a/{number}"), 100 - number)
    cache.get_or_compute("a/0", Maker(1000))  # used: a/1 is the oldest now
    cache.get_or_compute("b", Maker(1000))
    assert files_in(tmp_path) == ["a/0.npz", "a/2.npz", "a/3.npz", "b.npz"]
    cache.get_or_compute("c", Maker(1000))
    assert files_in(tmp_path) == ["a/0.npz", "a/3.npz", "b.npz", "c.npz"]


def test_an_entry_above_the_limit_is_not_written_and_takes_nobodys_place(tmp_path):
    cache, make = kept(tmp_path, 1e-5), Maker(4000)
    cache.get_or_compute("small", Maker(100))
    for _ in range(2):
        np.testing.assert_array_equal(cache.get_or_compute("large", make)["0"], Maker(4000)()["0"])
    assert make.made == 2
    assert files_in(tmp_path) == ["small.npz"]


@pytest.mark.parametrize("folder", [True, False])
def test_without_a_limit_or_a_folder_nothing_is_written(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache, make = Cache(str(tmp_path) if folder else None, 0 if folder else 1), Maker()
    for _ in range(2):
        assert_whole(cache.get_or_compute(KEY, make))
    assert make.made == 2
    assert files_in(tmp_path) == []


def test_what_is_in_memory_is_not_read_again(tmp_path):
    cache, make = kept(tmp_path, 1, 1), Maker()
    cache.get_or_compute(KEY, make)
    entry(tmp_path).unlink()
    assert_whole(cache.get_or_compute(KEY, make))
    assert make.made == 1
    without, make = Cache(None, 0, 1), Maker()
    assert without.get_or_compute(KEY, make)["0"] is without.get_or_compute(KEY, make)["0"]
    assert make.made == 1


def test_without_a_limit_of_memory_nothing_is_held_there(tmp_path):
    cache, make = kept(tmp_path, 1, 0), Maker()
    cache.get_or_compute(KEY, make)
    entry(tmp_path).unlink()
    assert_whole(cache.get_or_compute(KEY, make))
    assert make.made == 2


def test_what_was_read_is_held_in_memory_too(tmp_path):
    make = Maker()
    kept(tmp_path).get_or_compute(KEY, make)
    cache = kept(tmp_path, 1, 1)
    cache.get_or_compute(KEY, make)
    entry(tmp_path).unlink()
    assert_whole(cache.get_or_compute(KEY, make))
    assert make.made == 1


def test_of_what_is_in_memory_the_least_recently_used_goes_first():
    cache = Cache(None, 0, 1e-5)
    makes = {name: Maker(1000) for name in "abc"}  # 4 kB and a little each
    for name in "abacabc":  # b goes for c, c for b, a for c
        cache.get_or_compute(name, makes[name])
    assert [make.made for make in makes.values()] == [1, 2, 2]
    large = Maker(4000)
    for _ in range(2):
        cache.get_or_compute("large", large)
    assert large.made == 2
    cache.get_or_compute("c", makes["c"])
    assert makes["c"].made == 2


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_folder_that_cannot_be_written_does_not_stop_the_run(place, tmp_path):
    (tmp_path / "file").write_text("in the way")
    make = Maker()
    for _ in range(2):
        assert_whole(kept(tmp_path / place).get_or_compute(KEY, make))
    assert make.made == 2
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_that_can_only_be_read_serves_too(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError

    make = Maker()
    kept(tmp_path).get_or_compute(KEY, make)
    monkeypatch.setattr(os, "utime", refused)  # whoever runs the tests might be allowed to
    assert_whole(kept(tmp_path).get_or_compute(KEY, make))
    assert make.made == 1


def test_a_file_that_cannot_be_deleted_does_not_stop_the_run(tmp_path):
    (tmp_path / "folder.npz").mkdir(parents=True)
    (tmp_path / "folder.npz" / "file.npz").write_bytes(bytes(9000))
    age(tmp_path / "folder.npz", 100)
    cache = kept(tmp_path, 1e-5)
    for number in range(4):
        assert len(cache.get_or_compute(f"a/{number}", Maker(1000))["0"]) == 250


def recalled(folder: str, barrier: object) -> tuple[list[float], int]:
    """What a process gets that recalls ten keys at the same time as another one."""
    make, told = Maker(), []
    for number in range(10):
        barrier.wait()
        told.append(float(kept(Path(folder)).get_or_compute(f"a/{number}", make)["0"].sum()))
    return told, make.made


def in_process(folder: str, barrier: object, results: object) -> None:
    results.put(recalled(folder, barrier))


def test_processes_at_once_on_one_key_all_get_it_right(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    arguments = (str(tmp_path), barrier, results)
    processes = [context.Process(target=in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    expected = float(Maker()()["0"].sum())
    assert [told for told, _ in answers] == [[expected] * 10] * 2
    assert files_in(tmp_path) == [f"a/{number}.npz" for number in range(10)]
    assert recalled(str(tmp_path), context.Barrier(1))[1] == 0


@pytest.mark.parametrize("memory_gb", [0, 1e-5, 1])
def test_threads_at_once_on_one_cache_all_get_it_right(memory_gb, tmp_path):
    cache = kept(tmp_path, 2e-5, memory_gb)
    numbers = np.random.default_rng(0).integers(6, size=400).tolist()

    def ask(number: int) -> bool:
        made = cache.get_or_compute(f"a/{number}", lambda: {"x": np.full(700, number)})
        return made["x"].tolist() == [number] * 700

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, numbers))


def test_a_process_opens_one_cache(tmp_path):
    first = opened(str(tmp_path), 1, 1)
    assert opened(str(tmp_path), 1, 1) is first
    assert opened(str(tmp_path), 2, 1) is not first


@pytest.mark.parametrize("memory_gb", [0, 1])
@pytest.mark.parametrize("max_gb", [0, 1])
def test_what_is_held_is_seen_without_being_read(max_gb, memory_gb, tmp_path):
    one = kept(tmp_path, max_gb, memory_gb)
    assert not one.holds(KEY)
    one.get_or_compute(KEY, Maker())
    assert one.holds(KEY) == bool(max_gb or memory_gb)
    assert kept(tmp_path, max_gb, memory_gb).holds(KEY) == bool(max_gb)
    assert not one.holds(KEY + "0")

"""Building and its cache: found again, shared, killed, damaged, and without a compiler that works."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.kernels import EXPORT, HERE

from chainrule.errors import BuildError, ChainruleError
from chainrule.runtime import build as builds
from chainrule.runtime import cache as caches
from chainrule.runtime.build import build, load
from chainrule.runtime.cache import cache
from chainrule.runtime.compiler import find_compiler, native
from chainrule.runtime.headers import header

COMPILER = find_compiler()
assert COMPILER is not None, "these tests need a C compiler"
COMMAND = shlex.join(COMPILER.command)


def source(number: int) -> str:
    return f"{EXPORT} int answer(void) {{ return {number}; }}\n"


def answer(path: Path) -> int:
    return int(load(path).answer())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own, not yet made."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that writes a line into this file each time it runs."""
    runs = tmp_path / "runs"
    runs.touch()
    wrapper = script(tmp_path / "counting", f'echo run >> {shlex.quote(str(runs))}\nexec {COMMAND} "$@"')
    monkeypatch.setenv("CC", shlex.quote(str(wrapper)))
    return runs


def count(runs: Path) -> int:
    return len(runs.read_text(encoding="utf-8").splitlines())


def left(folder: Path) -> list[str]:
    """What lies in the cache beside its objects and entries."""
    return sorted({path.name for path in folder.iterdir()} - {"objects", "answers"})


# Found again


def test_what_was_built_is_found_without_the_compiler(folder: Path, counted: Path) -> None:
    first = build(source(41), target=HERE)
    assert answer(first) == 41 and count(counted) == 1
    assert build(source(41), target=HERE) == first and count(counted) == 1
    assert first.is_relative_to(folder) and left(folder) == []


def test_source_target_processor_and_compiler_decide(counted: Path) -> None:
    build(source(1), target=HERE)
    wrapper = Path(os.environ["CC"])
    for change in (
        lambda: build(source(2), target=HERE),
        lambda: build(source(1), target=HERE.with_lanes(4 if HERE.lanes != 4 else 8)),
        lambda: build(source(1), target=replace(HERE, cpu="another")),
        lambda: build(source(1), target=HERE, flags=("-O1",)),
        lambda: os.utime(wrapper, (1, 1)) or build(source(1), target=HERE),
    ):
        before = count(counted)
        change()
        assert count(counted) == before + 1


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "missing", "entry cut", "entry empty", "entry of another"])
def test_a_damaged_cache_is_built_anew(damage: str, folder: Path, counted: Path) -> None:
    path = build(source(5), target=HERE)
    (entry,) = (folder / "answers").iterdir()
    whole = path.read_bytes()
    path.unlink()  # as a loaded object it must not change in place
    match damage:
        case "flip":
            path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        case "cut" | "empty":
            path.write_bytes(whole[: len(whole) // 2 if damage == "cut" else 0])
        case "missing":
            pass
        case _:
            path.write_bytes(whole)
            text = {"entry cut": entry.read_text(encoding="ascii")[:9], "entry empty": ""}
            entry.write_text(text.get(damage, "../../etc/passwd"), encoding="ascii")
    assert answer(build(source(5), target=HERE)) == 5
    assert count(counted) == 2
    assert answer(build(source(5), target=HERE)) == 5
    assert count(counted) == 2


# Shared and killed


def test_many_at_once(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda number: build(source(number // 4), target=HERE), range(16)))
    assert [answer(path) for path in paths] == [number // 4 for number in range(16)]
    assert left(folder) == []


# Builds the sources that it is given, and kills itself at the stage that it is told.
CHILD = """
import os, signal, sys
from chainrule.runtime import build
from chainrule.runtime.compiler import native

stage, moves = sys.argv[1], []

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def replace(old, new, true=os.replace):
    moves.append(new)
    if stage == f"before move {len(moves)}":
        die()
    true(old, new)
    if stage == f"after move {len(moves)}":
        die()

os.replace = replace
if stage == "before compiling":
    build._compile = die
if stage == "while compiling":
    os.waitpid = die
for source in sys.argv[2:]:
    print(build.build(source, target=native()))
"""


def child(stage: str, *numbers: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, stage, *map(source, numbers)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


STAGES = ["before compiling", "while compiling", *(f"{when} move {n}" for when in ("before", "after") for n in (1, 2))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_build_leaves_the_cache_usable(stage: str, folder: Path) -> None:
    killed = child(stage, 7)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    found = child("none", 7)
    said, _ = found.communicate()
    assert found.returncode == 0 and answer(Path(said.strip())) == 7
    assert answer(build(source(7), target=HERE)) == 7
    assert all(name.startswith("build-") for name in left(folder))


@pytest.mark.campaign
def test_builds_killed_at_any_moment(folder: Path) -> None:
    for moment in range(60):
        process = child("none", *range(99))
        time.sleep(0.1 + 0.017 * moment)
        process.kill()
        process.communicate()
        for number in range(0, 99, 17):
            assert answer(build(source(number), target=HERE)) == number


def test_what_killed_builds_leave_is_swept_away(folder: Path) -> None:
    build(source(1), target=HERE)
    for name, age in (("build-old", 2 * 86400), ("build-young", 60)):
        (folder / name).mkdir()
        (folder / name / "model.c").touch()
        os.utime(folder / name, (time.time() - age, time.time() - age))
    build(source(2), target=HERE)
    assert left(folder) == ["build-young"]


# Without a cache


def test_a_cache_that_cannot_be_used_is_replaced_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file" / "cache"))
    builds._say_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="cannot be used .*; a temporary folder takes its place") as said:
        assert answer(build(source(3), target=HERE)) == 3
    assert len(said) == 1
    assert build(source(3), target=HERE).is_relative_to(builds._temporary())


# Ours, and writable by nobody else


@pytest.fixture
def other_user(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a file or a folder another user's, as its descriptor says it."""
    theirs, fstat = set[int](), os.fstat

    def told(handle: int) -> os.stat_result:
        found = fstat(handle)
        return os.stat_result((*found[:4], found.st_uid + found.st_ino in theirs or found.st_uid, *found[5:]))

    monkeypatch.setattr(os, "fstat", told)
    return lambda path: theirs.add(path.stat().st_uid + path.stat().st_ino)


def linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


UNSAFE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "0777": (lambda path: path.chmod(0o777), "others may write to"),
    "0770": (lambda path: path.chmod(0o770), "others may write to"),
    "a link": (linked, "a link"),
    "another user's": (lambda _: None, "belongs to another user"),
}


@pytest.mark.parametrize("how", UNSAFE)
@pytest.mark.parametrize("which", [".", "objects", "answers"])
def test_a_folder_that_is_not_ours_alone_refuses_the_cache(
    which: str, how: str, folder: Path, other_user: Callable[[Path], None]
) -> None:
    assert build(source(3), target=HERE).is_relative_to(folder)
    change, said = UNSAFE[how]
    change(folder / which)
    if how == "another user's":
        other_user(folder / which)
    builds._say_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=rf"cannot be used .*{said}.*; a temporary folder takes its place") as told:
        path = build(source(3), target=HERE)
    assert len(told) == 1 and path.is_relative_to(builds._temporary()) and answer(path) == 3
    assert builds.built(path.stem) is None


@pytest.mark.parametrize("how", UNSAFE)
@pytest.mark.parametrize("which", ["objects", "answers"])
def test_a_file_that_is_not_ours_alone_is_made_anew(
    which: str, how: str, folder: Path, counted: Path, other_user: Callable[[Path], None]
) -> None:
    build(source(3), target=HERE)
    (path,) = (folder / which).iterdir()
    UNSAFE[how][0](path)
    if how == "another user's":
        other_user(path)
    assert answer(build(source(3), target=HERE)) == 3 and count(counted) == 2
    assert not path.is_symlink() and path.stat().st_mode & 0o077 == 0
    assert answer(build(source(3), target=HERE)) == 3 and count(counted) == 2


def test_a_link_above_the_cache_is_followed(tmp_path: Path, counted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir(mode=0o777)
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "link" / "cache"))
    for _ in range(2):
        assert build(source(3), target=HERE).parts[-4:-1] == ("link", "cache", "objects")
    assert count(counted) == 1


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_what_is_made_is_ours_alone_under_any_umask(umask: int, folder: Path, counted: Path) -> None:
    before = os.umask(umask)
    try:
        for _ in range(2):
            build(source(3), target=HERE)
    finally:
        os.umask(before)
    assert count(counted) == 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder, *folder.rglob("*")))


# Each its own program's


@pytest.mark.parametrize("which", ["objects", "answers"])
@pytest.mark.parametrize("proved", [True, False])
def test_exchanged_files_are_seen(
    which: str, proved: bool, folder: Path, counted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with digests that say nothing of what they are of, another program's code is taken."""
    if not proved:
        monkeypatch.setattr(caches, "_proof", lambda *_: "")
        monkeypatch.setattr(builds, "_whole", lambda folder, digest: folder / "objects" / f"{digest}.so")
    made = [build(source(number), target=HERE) for number in (1, 2)]
    one, other = (folder / which).iterdir()
    for old, new in ((one, folder / "third"), (other, one), (folder / "third", other)):
        old.rename(new)
    again = [build(source(number), target=HERE) for number in (1, 2)]
    if proved:
        assert [answer(path) for path in again] == [1, 2] and count(counted) == 4
    else:
        assert (again == made[::-1] if which == "answers" else again == made) and count(counted) == 2
        assert [int(ctypes.CDLL(str(path)).answer()) for path in again] == [2, 1]


def test_what_is_changed_before_it_is_loaded_is_refused(folder: Path) -> None:
    one, other = (build(source(number), target=HERE) for number in (1, 2))
    os.replace(other, one)
    with pytest.raises(BuildError, match="cannot be loaded: it was changed"):
        load(one)


def test_code_is_loaded_from_the_folder_that_was_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may rename the folders above the cache puts another in its place, after all was looked at."""
    path, looked = build(source(1), target=HERE), builds.content

    def then_exchanged(*given: Any) -> bytes:
        found = looked(*given)
        folder.rename(folder.with_name("aside"))
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no code")
        return found

    monkeypatch.setattr(builds, "content", then_exchanged)
    assert answer(path) == 1


def test_a_full_disk_everywhere_is_a_build_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    builds._say_once.cache_clear()
    with pytest.warns(RuntimeWarning), pytest.raises(BuildError, match=r"no folder to build in.*No space left"):
        build(source(4), target=HERE)


def test_the_cache_stands_where_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache() == tmp_path / "xdg" / "chainrule"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache() == tmp_path / "home" / ".cache" / "chainrule"


def test_a_user_without_a_home_builds_in_a_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("CHAINRULE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    builds._say_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="home directory"):
        assert answer(build(source(6), target=HERE)) == 6


# Without a compiler that works


BROKEN = {
    "fails": ("echo 'model.c:1: error: no such thing' >&2; exit 1", "refuses: .*error: no such thing"),
    "says nothing": ("exit 3", "fails: it exits 3"),
    "dies": ("kill -SEGV $$", "died of signal 11"),
    "makes nothing": ("exit 0", "made no object"),
    "hangs": ("sleep 600 & echo $! > $PIDS; wait", "took longer than 1 s"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_compiler_is_one_sentence(
    how: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, sentence = BROKEN[how]
    monkeypatch.setenv("CC", shlex.quote(str(script(tmp_path / "broken", text))))
    monkeypatch.setenv("PIDS", str(tmp_path / "pids"))
    with pytest.raises(BuildError, match=sentence) as raised:
        build(source(1), target=HERE, time_limit=1 if how == "hangs" else 60)
    assert isinstance(raised.value, ChainruleError) and "\n" not in raised.value.problem
    assert left(folder) == [] and not list((folder / "answers").iterdir())
    if how == "hangs":  # what the compiler started has ended with it
        state = Path("/proc", (tmp_path / "pids").read_text(encoding="ascii").strip(), "stat")
        while state.exists() and state.read_text(encoding="utf-8").split()[2] != "Z":
            time.sleep(0.01)  # a signal takes a moment


def test_a_program_that_cannot_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    garbage = script(tmp_path / "garbage", "")
    garbage.write_bytes(b"\x7fELF no program")
    monkeypatch.setenv("CC", shlex.quote(str(garbage)))
    with pytest.raises(BuildError, match="does not start"):
        build(source(1), target=HERE)


def test_no_compiler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: object = None) -> None:
        return None

    monkeypatch.setattr(builds, "find_compiler", nothing)
    with pytest.raises(BuildError, match="there is no C compiler"):
        build(source(1), target=native())


# What is built


def test_parts_are_compiled_apart_and_linked(counted: Path) -> None:
    text = header([]) + """
int other(void);
#if PART == 0
int other(void) { return 40; }
#else
EXPORT int answer(void) { return other() + PART + 1; }
#endif
""".replace("EXPORT", EXPORT)
    assert answer(build(text, target=HERE, parts=2)) == 42
    assert count(counted) == 3
    assert answer(build(text, target=HERE, parts=2)) == 42
    assert count(counted) == 3


def test_a_part_that_fails_is_one_sentence(folder: Path) -> None:
    with pytest.raises(BuildError, match=r"chainrule wrote C that the compiler refuses: .*wrong here"):
        build('#if PART == 1\n#error "wrong here"\n#endif\n' + source(1), target=HERE, parts=2)
    assert left(folder) == [] and not list((folder / "answers").iterdir())


def test_a_missing_symbol_is_missed_while_building() -> None:
    with pytest.raises(BuildError, match="puts"):
        build(f"int puts(const char *);\n{EXPORT} int answer(void) {{ return puts(\"\"); }}\n", target=HERE)


def test_only_what_is_exported_is_seen() -> None:
    library = ctypes.CDLL(str(build("int hidden(void) { return 1; }\n" + source(2), target=HERE)))
    assert library.answer() == 2
    assert not hasattr(library, "hidden")


MEMORY = f"""
{EXPORT} void fill(char *to, long n) {{ for (long i = 0; i < n; i++) to[i] = 0; }}
{EXPORT} void set(char *to, int value, long n) {{ memset(to, value, (unsigned long)n); }}
{EXPORT} void copied(char *restrict to, const char *restrict from, long n) {{
  for (long i = 0; i < n; i++) to[i] = from[i];
}}
{EXPORT} void moved(char *to, const char *from, long n) {{ memmove(to, from, (unsigned long)n); }}
"""


def test_memory_functions_that_compilers_call() -> None:
    """Loops that gcc and clang turn into calls of memset and memcpy, and those called by name."""
    library = ctypes.CDLL(str(build(header([]) + MEMORY, target=HERE)))
    for n in (0, 1, 7, 8, 9, 63, 64, 1000):
        memory = bytearray(range(256)) * 8
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        at, length = ctypes.c_void_p(start + 3), ctypes.c_long(n)
        library.fill(at, length)
        wanted = bytearray(range(256)) * 8
        wanted[3 : 3 + n] = bytes(n)
        assert memory == wanted
        library.set(at, 0x1AB, length)
        wanted[3 : 3 + n] = b"\xab" * n
        assert memory == wanted
        library.copied(at, ctypes.c_void_p(start + 1030), length)
        wanted[3 : 3 + n] = wanted[1030 : 1030 + n]
        assert memory == wanted
        for to, source_at in ((20, 25), (25, 20)):
            library.moved(ctypes.c_void_p(start + to), ctypes.c_void_p(start + source_at), length)
            wanted[to : to + n] = bytes(wanted[source_at : source_at + n])
            assert memory == wanted

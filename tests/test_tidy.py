"""Tidiness that no linter knows: banned calls, required docstrings, sizes, words.

Why here: each rule protects something that a review forgets (injected time, guarded tasks, no
modal window over the stop button), and every finding says what to write instead. Calls are found
in the syntax tree, so a comment or a string cannot trip a rule.
A line may be excused by a comment `tidy: allow RULE - reason` on it; a size only through the lists
below, which may shrink and must not grow without a reason beside the entry.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]

_MODULE_LINES_MAX = 600
_FUNCTION_LINES_MAX = 70
_CONSTRUCTOR_COLLABORATORS_MAX = 8

# Path → reason. Entries that are no longer needed fail the test, so the lists only shrink.
_LONG_MODULES: Mapping[str, str] = {
    "engine/model/events.py": "the contract's table of events, one class each, read as one table",
}
_LONG_FUNCTIONS: Mapping[str, str] = {}
_WIDE_CONSTRUCTORS: Mapping[str, str] = {}

_EXCUSE = re.compile(r"#\s*tidy: allow ([a-z-]+) - \S")
_HEX_COLOUR = re.compile(r"#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3,4})\b")
# Spelled in halves, so that this file does not trip its own rule.
_UNFINISHED = re.compile(
    r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b"
)
_NOT_OURS = frozenset({"__pycache__", "build", "dist"})
_VAGUE_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "misc", "manager"})


@dataclass(frozen=True)
class Source:
    """One Python file of the project, read and parsed."""

    path: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.split("/", 1)[0]

    def is_under(self, *folders: str) -> bool:
        return any(self.path == folder or self.path.startswith(f"{folder}/") for folder in folders)


@dataclass(frozen=True)
class Finding:
    """A broken rule, where, and what to do instead."""

    path: str
    line: int
    rule: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: [{self.rule}] {self.advice}"


def _source(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text, filename=path))


def _tracked_files(suffix: str = "") -> list[str]:
    """Return the project's own files: git's list, or the folders' where there is no git."""
    command = ["git", "-C", str(_ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        paths = listed.stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        paths = sorted(_files_in_folders())
    return [path for path in paths if path.endswith(suffix) and (_ROOT / path).is_file()]


def _files_in_folders() -> Iterator[str]:
    for folder, subfolders, names in os.walk(_ROOT):
        subfolders[:] = [name for name in subfolders if name not in _NOT_OURS and name[0] != "."]
        yield from (str((Path(folder) / name).relative_to(_ROOT)) for name in names)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return [_source(path, (_ROOT / path).read_text()) for path in _tracked_files(".py")]


# --- Calls that are banned, where, and what to use ----------------------------------------------

_CLOCK_ADVICE = "use the injected Clock (engine.ports), so that simulated time works"
_CHANCE_ADVICE = "use the injected id source or seeded randomness of engine.runtime"
_SHEET_ADVICE = "ask with a sheet in the page; anything modal makes the stop button dead"

# perf_counter stays: how long a real disk took is a measurement, never an input of a decision.
_BANNED_IN_ENGINE: Mapping[str, str] = {
    "time.time": _CLOCK_ADVICE,
    "time.time_ns": _CLOCK_ADVICE,
    "time.monotonic": _CLOCK_ADVICE,
    "time.monotonic_ns": _CLOCK_ADVICE,
    "time.sleep": _CLOCK_ADVICE,
    "asyncio.sleep": _CLOCK_ADVICE,
    "datetime.now": _CLOCK_ADVICE,
    "datetime.utcnow": _CLOCK_ADVICE,
    "datetime.today": _CLOCK_ADVICE,
    "datetime.datetime.now": _CLOCK_ADVICE,
    "datetime.datetime.utcnow": _CLOCK_ADVICE,
    "datetime.date.today": _CLOCK_ADVICE,
    "uuid.uuid1": _CHANCE_ADVICE,
    "uuid.uuid4": _CHANCE_ADVICE,
    "secrets.token_hex": _CHANCE_ADVICE,
    "secrets.token_bytes": _CHANCE_ADVICE,
    "os.urandom": _CHANCE_ADVICE,
}
_BANNED_CONSOLE_NAMES: Mapping[str, str] = {
    "QDialog": _SHEET_ADVICE,
    "QMessageBox": _SHEET_ADVICE,
    "QFileDialog": _SHEET_ADVICE,
    "QInputDialog": _SHEET_ADVICE,
}
# The engine's edges to the machine, where real time and real chance come from.
_TIME_IS_REAL = ("engine/runtime", "engine/latch", "engine/control")
_SPAWNERS = ("engine/runtime", "console/qt", "tests", "packaging")


def _banned_calls(source: Source) -> Iterator[Finding]:
    imported = _imported_names(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = _full_name(node.func, imported)
            for rule, advice in _verdicts_on_call(source, node, name):
                yield Finding(source.path, node.lineno, rule, f"{name or 'call'}: {advice}")


def _verdicts_on_call(source: Source, call: ast.Call, name: str) -> Iterator[tuple[str, str]]:
    last = name.rpartition(".")[2]
    if source.package == "engine" and not source.is_under(*_TIME_IS_REAL):
        if name in _BANNED_IN_ENGINE:
            yield "injected-time", _BANNED_IN_ENGINE[name]
        if name.startswith(("random.", "numpy.random.")):
            yield "injected-chance", _CHANCE_ADVICE
    if last in {"create_task", "ensure_future"} and not source.is_under(*_SPAWNERS):
        yield "guarded-tasks", "use spawn(name, coroutine): a bare task fails in silence"
    if last == "Decimal" and any(_is_float(argument) for argument in call.args):
        yield "decimal-from-text", "build a Decimal from text or int; a float carries its error in"
    if source.package == "console":
        yield from _verdicts_on_console_call(source, call, last)
    if name == "print" and source.package in {"engine", "console"}:
        yield "no-print", "use the logger; output for the caller goes through console/cli.py"


def _verdicts_on_console_call(
    source: Source, call: ast.Call, last: str
) -> Iterator[tuple[str, str]]:
    if last in {"exec", "exec_", "processEvents"} and isinstance(call.func, ast.Attribute):
        yield "no-nested-loop", _SHEET_ADVICE
    if last == "QTimer" and not source.is_under("console/qt"):
        yield "named-timers", "use named_timer(owner, name): a timer without owner is never found"
    if last == "setStyleSheet" and not source.is_under("console/theme"):
        if any(isinstance(argument, ast.Constant | ast.JoinedStr) for argument in call.args):
            yield "theme-roles", "style through the theme's roles, not a literal style sheet"


def _is_float(node: ast.expr) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, float)
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
    )


def _imported_names(tree: ast.Module) -> dict[str, str]:
    """Map each local name to what it was imported as, so that an alias hides nothing."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def _full_name(node: ast.expr, imported: Mapping[str, str]) -> str:
    """Return the dotted name that a call's target stands for; empty where it is not a name."""
    if isinstance(node, ast.Name):
        return imported.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, imported)
        return f"{owner}.{node.attr}" if owner else f"?.{node.attr}"
    return ""


def _banned_names(source: Source) -> Iterator[Finding]:
    if source.package != "console":
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name in _BANNED_CONSOLE_NAMES:
                    advice = f"{alias.name}: {_BANNED_CONSOLE_NAMES[alias.name]}"
                    yield Finding(source.path, node.lineno, "no-dialogs", advice)
        elif isinstance(node, ast.Attribute) and node.attr in _BANNED_CONSOLE_NAMES:
            advice = f"{node.attr}: {_BANNED_CONSOLE_NAMES[node.attr]}"
            yield Finding(source.path, node.lineno, "no-dialogs", advice)


def _swallowed_errors(source: Source) -> Iterator[Finding]:
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield Finding(source.path, node.lineno, "named-errors", "name the error to catch")
        elif "BaseException" in ast.unparse(node.type) and not any(
            isinstance(inner, ast.Raise) for inner in ast.walk(node)
        ):
            advice = "BaseException swallows cancellation: raise it again, or name the error"
            yield Finding(source.path, node.lineno, "named-errors", advice)


# --- What every module has ----------------------------------------------------------------------


def _module_head(source: Source) -> Iterator[Finding]:
    if not ast.get_docstring(source.tree):
        advice = "open with a docstring: what, why, units, threads, how it fails"
        yield Finding(source.path, 1, "module-docstring", advice)
    if source.package not in {"engine", "console"}:
        return
    public = _public_definitions(source.tree)
    exported = _exported(source.tree)
    if exported is None:
        if public:
            advice = f"list the public names in __all__: {', '.join(sorted(public))}"
            yield Finding(source.path, 1, "public-names", advice)
        return
    for name, line in sorted(public.items()):
        if name not in exported:
            advice = f"{name} is missing in __all__: list it, or begin its name with _"
            yield Finding(source.path, line, "public-names", advice)


def _public_definitions(tree: ast.Module) -> dict[str, int]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = (node for node in tree.body if isinstance(node, kinds))
    return {node.name: node.lineno for node in defined if not node.name.startswith("_")}


def _exported(tree: ast.Module) -> set[str] | None:
    """Return what `__all__` lists; None where there is none; all where it is computed."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        named = [target.id for target in targets if isinstance(target, ast.Name)]
        if "__all__" in named and isinstance(node, ast.Assign | ast.AnnAssign):
            if not isinstance(node.value, ast.List | ast.Tuple):
                return set(_public_definitions(tree))
            return {
                element.value
                for element in node.value.elts
                if isinstance(element, ast.Constant) and isinstance(element.value, str)
            }
    return None


def _names_that_say_nothing(source: Source) -> Iterator[Finding]:
    parts = {part.strip("_") for part in Path(source.path).with_suffix("").parts}
    if vague := sorted(parts & _VAGUE_NAMES):
        advice = f"{', '.join(vague)}: say which (governor, store, desk, bridge …)"
        yield Finding(source.path, 1, "telling-names", advice)


def _excuses_without_reason(source: Source) -> Iterator[Finding]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if "# tidy: " + "allow" in line and not _EXCUSE.search(line):
            advice = "an excuse names its rule and a reason: `# tidy: " + "allow RULE - reason`"
            yield Finding(source.path, number, "reasons", advice)


_RULES: tuple[Callable[[Source], Iterator[Finding]], ...] = (
    _banned_calls,
    _banned_names,
    _swallowed_errors,
    _module_head,
    _names_that_say_nothing,
    _excuses_without_reason,
)


def _findings(source: Source) -> list[Finding]:
    lines = source.text.splitlines()

    def is_excused(finding: Finding) -> bool:
        line = lines[finding.line - 1] if finding.line <= len(lines) else ""
        excuse = _EXCUSE.search(line)
        return excuse is not None and excuse[1] == finding.rule

    found = (finding for rule in _RULES for finding in rule(source))
    return [finding for finding in found if not is_excused(finding)]


def _hex_colours(path: str, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        # Issue numbers in comments look like short colours; a colour is within quotes or a rule.
        for colour in _HEX_COLOUR.findall(line.split("# ", 1)[0]):
            advice = f"{colour}: use a role of the theme; colours exist once, in console/theme"
            yield Finding(path, number, "theme-roles", advice)


def _refuse(findings: Sequence[str]) -> None:
    """Fail with one finding a line, whole: pytest's own comparison would cut them short."""
    assert not findings, "\n" + "\n".join(findings)


# --- The project obeys --------------------------------------------------------------------------


def test_every_source_file_obeys_the_rules(sources: list[Source]) -> None:
    _refuse([str(finding) for source in sources for finding in _findings(source)])


def test_colours_exist_only_in_the_theme(sources: list[Source]) -> None:
    elsewhere = (
        source
        for source in sources
        if source.package == "console" and not source.is_under("console/theme")
    )
    found = [finding for each in elsewhere for finding in _hex_colours(each.path, each.text)]
    for path in _tracked_files(".qss"):
        found += _hex_colours(path, (_ROOT / path).read_text())
    _refuse([str(finding) for finding in found])


def test_nothing_is_marked_unfinished() -> None:
    marked: list[str] = []
    for path in _tracked_files():
        if Path(path).suffix in {".py", ".toml", ".md", ".qss", ".sql", ".spec", ".cfg"}:
            for number, line in enumerate((_ROOT / path).read_text().splitlines(), 1):
                if _UNFINISHED.search(line):
                    marked.append(f"{path}:{number}: finish it, or write an issue: {line.strip()}")
    _refuse(marked)


def test_modules_functions_and_constructors_stay_small(sources: list[Source]) -> None:
    ours = [source for source in sources if source.package in {"engine", "console"}]
    modules = {each.path: len(each.text.splitlines()) for each in ours}
    functions = {name: size for each in ours for name, size in _function_sizes(each)}
    constructors = {name: count for each in ours for name, count in _constructor_sizes(each)}
    _assert_within(modules, _MODULE_LINES_MAX, _LONG_MODULES, "lines: split the module by reason")
    _assert_within(
        functions, _FUNCTION_LINES_MAX, _LONG_FUNCTIONS, "lines: give its steps names of their own"
    )
    _assert_within(
        constructors,
        _CONSTRUCTOR_COLLABORATORS_MAX,
        _WIDE_CONSTRUCTORS,
        "parameters: the class does too much, or its settings want to be one value",
    )


def _assert_within(
    sizes: Mapping[str, int], limit: int, allowed: Mapping[str, str], advice: str
) -> None:
    over = {name: size for name, size in sizes.items() if size > limit}
    found = [
        f"{name}: {size} of at most {limit} {advice}"
        for name, size in sorted(over.items())
        if name not in allowed
    ]
    needless = [
        f"{name} is small now: take it off the list" for name in allowed if name not in over
    ]
    _refuse(found + needless)


def _function_sizes(source: Source) -> Iterator[tuple[str, int]]:
    yield from _sizes_within(source.tree, f"{source.path}::")


def _sizes_within(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    """Name functions by the classes and functions around them, so that an entry survives edits."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{child.name}", (child.end_lineno or child.lineno) - child.lineno + 1
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield from _sizes_within(child, f"{prefix}{child.name}.")
        else:
            yield from _sizes_within(child, prefix)


def _constructor_sizes(source: Source) -> Iterator[tuple[str, int]]:
    for owner in ast.walk(source.tree):
        if not isinstance(owner, ast.ClassDef):
            continue
        for node in owner.body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                given = node.args
                count = len([*given.posonlyargs, *given.args, *given.kwonlyargs]) - 1
                yield f"{source.path}::{owner.name}", count


# --- The rules can fail -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "path", "code"),
    [
        ("injected-time", "engine/risk/x.py", "import time\ntime.time()"),
        ("injected-time", "engine/risk/x.py", "from time import monotonic as m\nm()"),
        (
            "injected-time",
            "engine/bus/x.py",
            "import asyncio\nasync def f(): await asyncio.sleep(1)",
        ),
        ("injected-time", "engine/bus/x.py", "from datetime import datetime\ndatetime.now(None)"),
        ("injected-chance", "engine/market/x.py", "import random\nrandom.Random(1)"),
        ("injected-chance", "engine/market/x.py", "import numpy as np\nnp.random.default_rng(1)"),
        ("injected-time", "engine/model/x.py", "import uuid\nuuid.uuid4()"),
        ("guarded-tasks", "console/x.py", "import asyncio\nasyncio.create_task(f())"),
        ("guarded-tasks", "engine/bus/x.py", "loop.create_task(f())"),
        ("decimal-from-text", "engine/model/x.py", "from decimal import Decimal\nDecimal(0.1)"),
        (
            "decimal-from-text",
            "engine/model/x.py",
            "from decimal import Decimal\nDecimal(float(x))",
        ),
        ("no-nested-loop", "console/x.py", "menu.exec()"),
        ("no-nested-loop", "console/x.py", "app.processEvents()"),
        ("no-dialogs", "console/x.py", "from PySide6.QtWidgets import QMessageBox"),
        ("no-dialogs", "console/x.py", "QtWidgets.QFileDialog"),
        ("named-timers", "console/views/x.py", "from PySide6.QtCore import QTimer\nQTimer(self)"),
        ("theme-roles", "console/views/x.py", "label.setStyleSheet('color: red')"),
        ("no-print", "engine/x.py", "print('x')"),
        ("named-errors", "tests/x.py", "try:\n    f()\nexcept:\n    pass"),
        ("named-errors", "engine/x.py", "try:\n    f()\nexcept BaseException:\n    pass"),
        ("module-docstring", "tests/x.py", "x = 1"),
        ("public-names", "engine/x.py", "def public(): ..."),
        ("public-names", "engine/x.py", "__all__ = ['a']\ndef a(): ...\nclass B: ..."),
        ("telling-names", "engine/utils.py", "x = 1"),
        ("reasons", "engine/x.py", "x = 1  # tidy: " + "allow injected-time"),
    ],
)
def test_each_rule_finds_its_sin(rule: str, path: str, code: str) -> None:
    assert rule in {finding.rule for finding in _findings(_source(path, code))}


def test_the_rules_leave_good_code_alone() -> None:
    code = '''
    """Does right by every rule."""
    import time
    from decimal import Decimal
    __all__ = ["price"]
    WORDS = "time.time() print( #ffffff"
    def price(clock, text):
        started = time.monotonic()  # tidy: allow injected-time - measured for a person only
        return Decimal(text), clock.now_ns(), started
    '''
    assert _findings(_source("engine/x.py", textwrap.dedent(code))) == []


def test_without_git_the_same_sources_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with_git = set(_tracked_files(".py"))
    monkeypatch.setenv("PATH", "")
    assert set(_tracked_files(".py")) == with_git
    assert "tests/test_tidy.py" in with_git


def test_an_excuse_covers_only_the_rule_it_names() -> None:
    code = '"""x"""\nimport time\ntime.time()  # tidy: allow no-print - measured for a person'
    assert [each.rule for each in _findings(_source("engine/x.py", code))] == ["injected-time"]


def test_a_colour_is_found_and_an_issue_number_is_not() -> None:
    assert [each.line for each in _hex_colours("x.py", 'a = 1  # see #123\nb = "#1a2b3c"')] == [2]


def test_sizes_are_counted_and_needless_entries_refused() -> None:
    code = "class A:\n    def __init__(self, *, a, b, c):\n        self.a = a\n"
    source = _source("engine/x.py", code)
    assert list(_constructor_sizes(source)) == [("engine/x.py::A", 3)]
    assert list(_function_sizes(source)) == [("engine/x.py::A.__init__", 2)]
    with pytest.raises(AssertionError, match="of at most"):
        _assert_within({"a": 9}, 8, {}, "too many")
    with pytest.raises(AssertionError, match="take it off"):
        _assert_within({"a": 7}, 8, {"a": "was long"}, "too many")

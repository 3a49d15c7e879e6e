"""The documents say what the code has: commands, options, keys, alarms, states; links resolve."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.actions import ACTIONS
from console.arguments import build_parser
from engine.health import ALARMS
from engine.kernel.status import status_json
from engine.kernel.summary import run_summary
from engine.model.config import Configuration
from engine.model.events import ALL_EVENTS
from engine.model.snapshots import EngineState
from tests.fakes.engine_client import running_snapshot

_ROOT = Path(__file__).resolve().parents[3]
_DOCS = _ROOT / "docs"
_PAGES = sorted([*_ROOT.glob("*.md"), *_DOCS.rglob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_IMAGE_BYTES_MAX = 300_000


def _read(name: str) -> str:
    return (_DOCS / name).read_text(encoding="utf-8")


def _commands(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, list[str]]]:
    options: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from _commands(below, f"{name} {word}")
        elif not isinstance(action, argparse._HelpAction):
            options += action.option_strings or [str(action.metavar)]
    yield name, options


@pytest.mark.parametrize(("command", "options"), list(_commands(build_parser("0"), "seawall")))
def test_every_command_and_option_is_on_its_page(command: str, options: list[str]) -> None:
    page = _read("commands.md")
    _, found, section = page.partition(f"\n## `{command}`\n")
    assert found, f"{command} is missing"
    section = section.partition("\n## ")[0]
    assert [option for option in options if f"`{option}" not in section] == []
    assert "| None |" not in section, f"an option of {command} has no help text"


def test_the_manual_speaks_of_every_command_for_operators() -> None:
    manual = _read("operator.md")
    commands = [command for command, _ in _commands(build_parser("0"), "seawall")]
    named = {command.split()[1] for command in commands if " " in command}
    absent = sorted(name for name in named - {"bench"} if f"seawall {name}" not in manual)
    assert absent == []


def test_every_configuration_key_is_on_its_page() -> None:
    page = _read("configuration.md")
    configuration = Configuration()
    keys = [
        f"{section}.{key}"
        for section in configuration.__struct_fields__
        for key in getattr(configuration, section).__struct_fields__
    ]
    assert len(keys) > 20
    assert [key for key in keys if f"| `{key}` |" not in page] == []


def test_every_event_is_on_its_page() -> None:
    page = _read("events.md")
    assert [event.TYPE for event in ALL_EVENTS if f"| `{event.TYPE}` |" not in page] == []


def test_every_urgent_alarm_has_a_written_answer() -> None:
    runbook = _read("runbook.md")
    urgent = [code for code, spec in ALARMS.items() if spec.priority <= 2]
    assert [code for code in urgent if f"\n### {code}\n" not in runbook] == []
    answers = set(re.findall(r"^### (\w+)$", runbook, re.MULTILINE))
    assert answers - set(urgent) == set(), "the runbook answers alarms that do not exist"


def test_every_state_and_key_is_in_the_manual_or_the_contract() -> None:
    contract, manual = _read("contract.md"), _read("operator.md")
    assert [state for state in EngineState if f"`{state}`" not in contract] == []
    keys = [action.keys[0] for action in ACTIONS]
    assert [key for key in keys if f"`{key}`" not in manual] == []


def test_every_field_of_summary_and_status_is_in_the_contract() -> None:
    contract, snapshot = _read("contract.md"), running_snapshot()
    status = status_json(snapshot, running=True, safeguards={})
    summary = run_summary(
        snapshot, ok=True, seed=1, duration_s=1.0, orders=0, books={}, outages=[], run_digest=""
    )
    for name, document in (("run summary", summary), ("status", status)):
        row = next(line for line in contract.splitlines() if line.startswith(f"| {name} "))
        assert [field for field in document if f"`{field}`" not in row] == [], name


def test_every_requirement_has_a_status() -> None:
    page = _read("requirements.md")
    rows = [line for line in page.splitlines() if line.startswith("| R-")]
    assert len(rows) > 60
    wrong = [
        row
        for row in rows
        if not row.split("|")[-2].strip().startswith(("built", "partly", "not yet"))
    ]
    assert wrong == []


def test_every_decision_is_listed() -> None:
    index = _read("adr/README.md")
    pages = [path.name for path in (_DOCS / "adr").glob("0*.md")]
    assert [name for name in pages if f"({name})" not in index] == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.relative_to(_ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    broken = [link for link in _links(page) if not _resolves(page, link)]
    assert broken == []


def _links(page: Path) -> list[str]:
    return [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]


def _resolves(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page if not name else (page.parent / name)
    if not target.exists():
        return False
    if not anchor:
        return True
    return anchor in _anchors(target.read_text(encoding="utf-8"))


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    """Goal: the check above can fail. Method: a page with one good and two broken links."""
    page = tmp_path / "a.md"
    page.write_text("# One Title\n[x](a.md#one-title) [y](b.md) [z](#two)\n", encoding="utf-8")
    assert [link for link in _links(page) if not _resolves(page, link)] == ["b.md", "#two"]


def test_images_are_small_and_shown() -> None:
    images = sorted((_DOCS / "images").iterdir())
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert images
    assert [image.name for image in images if image.stat().st_size > _IMAGE_BYTES_MAX] == []
    assert [image.name for image in images if f"(docs/images/{image.name})" not in readme] == []


def test_the_readme_begins_with_what_it_is_for_and_names_both_commands() -> None:
    readme = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert "stop" in readme.splitlines()[2]
    for command in ("python3 packaging/run.py", "python3 packaging/test.py", "ISO 13850"):
        assert command in readme

"""The pages made from tables are those that the tables make now."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from engine.health import ALARMS
from engine.model.orders import TRANSITIONS
from engine.model.policy import FIELDS

_ROOT = Path(__file__).resolve().parents[3]
_PAGES = runpy.run_path(str(_ROOT / "packaging" / "docs_pages.py"))["PAGES"]


@pytest.mark.parametrize("name", sorted(_PAGES))
def test_page_is_current(name: str) -> None:
    written = (_ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == _PAGES[name](), f"run packaging/docs_pages.py to write docs/{name} anew"


def test_nothing_of_the_tables_is_missing() -> None:
    policy, orders, alarms = (_PAGES[f"{name}.md"]() for name in ("policy", "orders", "alarms"))
    assert [spec.name for spec in FIELDS if f"| `{spec.name}` |" not in policy] == []
    assert orders.count("→ **") == len(TRANSITIONS)
    assert [code for code in ALARMS if f"| `{code}` |" not in alarms] == []

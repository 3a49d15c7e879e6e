"""The campaign runner: what holds, what fails, and that an interrupted campaign goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.campaigns import runner


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A campaign whose seed 2 fails; gives the seeds that were run."""
    ran: list[int] = []

    def run_seed(seed: int, workdir: Path) -> dict[str, object]:
        ran.append(seed)
        (workdir / "left").write_text("something")
        if seed == 2:
            raise ValueError("the books do not balance")
        return {"fills": seed}

    monkeypatch.setattr(runner, "load_campaign", lambda _name: run_seed)
    return ran


def test_a_campaign_writes_every_outcome_with_its_seed(seen: list[int], tmp_path: Path) -> None:
    output = tmp_path / "campaign-books.json"
    assert not runner.run_campaign("books", seeds=4, first_seed=0, output=output)
    result = json.loads(output.read_text())
    assert seen == [0, 1, 2, 3]
    assert (result["campaign"], result["seeds"], result["failed"]) == ("books", 4, [2])
    assert result["outcomes"][3]["counted"] == {"fills": 3}
    assert "do not balance" in result["outcomes"][2]["error"]
    assert Path(result["outcomes"][2]["kept"], "left").exists()


@pytest.mark.parametrize(("commit", "expected"), [("abc", [1, 3]), ("other", [0, 1, 3])])
def test_an_interrupted_campaign_goes_on_only_with_the_same_code(
    seen: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    commit: str,
    expected: list[int],
) -> None:
    output = tmp_path / "campaign-books.json"
    monkeypatch.setattr(runner, "_commit", lambda: "abc")
    assert runner.run_campaign("books", seeds=1, first_seed=0, output=output)
    seen.clear()
    monkeypatch.setattr(runner, "_commit", lambda: commit)
    runner.run_campaign("books", seeds=2, first_seed=0, output=output)
    runner.run_campaign("books", seeds=1, first_seed=3, output=output)
    assert seen == expected


@pytest.mark.allow_log("no campaign named")
def test_an_unknown_campaign_is_refused_in_words() -> None:
    assert runner.main(["no_such_campaign", "--seeds", "1"]) == 2
    with pytest.raises(LookupError, match="no_such_campaign"):
        runner.load_campaign("no_such_campaign")

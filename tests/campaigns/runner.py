"""Runs campaigns: a few seeds for a test, or a whole campaign from a shell, resumable.

Each seed runs in a fresh folder that is removed when the seed held and kept when it failed.
The result file is rewritten after every seed (written beside, then put in place), so an interrupted
campaign loses one seed at most; it goes on only if commit and code are the same as before.
Called as `python -m tests.campaigns.runner NAME --seeds N [--first-seed K] [--output FILE]`.
Fails: exit 1 when a seed failed, 2 when the campaign does not exist.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import pkgutil
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import tests.campaigns

__all__ = [
    "campaign_names",
    "load_campaign",
    "main",
    "run_campaign",
    "run_one_seed",
    "seed_limit_s",
    "seeds_in_tests",
]

RunSeed = Callable[[int, Path], Mapping[str, object]]
_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_SEED_LIMIT_S = 60.0
_NOT_CAMPAIGNS = frozenset({"runner"})

logger = logging.getLogger("campaign")


def campaign_names() -> list[str]:
    """Return the names of the campaigns that exist, sorted."""
    found = (module.name for module in pkgutil.iter_modules(tests.campaigns.__path__))
    return sorted(name for name in found if name not in _NOT_CAMPAIGNS and name[0] != "_")


def load_campaign(name: str) -> RunSeed:
    """Return the campaign's `run_seed`; LookupError when there is no such campaign."""
    if name not in campaign_names():
        known = ", ".join(campaign_names()) or "none yet"
        raise LookupError(f"no campaign named {name!r}; there are: {known}")
    run_seed: RunSeed = importlib.import_module(f"tests.campaigns.{name}").run_seed
    return run_seed


def seeds_in_tests(name: str) -> int:
    """How many seeds the tests may run at most: few of a campaign that takes real time."""
    module = importlib.import_module(f"tests.campaigns.{name}")
    return int(getattr(module, "SEEDS_IN_TESTS", sys.maxsize))


def seed_limit_s(name: str) -> float:
    """How long a seed of a campaign may take."""
    module = importlib.import_module(f"tests.campaigns.{name}")
    return float(getattr(module, "SEED_LIMIT_S", _SEED_LIMIT_S))


def run_one_seed(run_seed: RunSeed, seed: int, workdir: Path) -> dict[str, object]:
    """Run one seed in an empty folder; what it raises is the failure."""
    if any(workdir.iterdir()):
        raise ValueError(f"{workdir} is not empty; a seed needs a folder of its own")
    counted = dict(run_seed(seed, workdir))
    json.dumps(counted)  # Fails here, with the seed known, rather than when the file is written.
    return counted


def run_campaign(
    name: str, *, seeds: int, first_seed: int, output: Path, stop_at_first: bool = False
) -> bool:
    """Run every seed that `output` does not hold yet; True when all of them held."""
    run_seed = load_campaign(name)
    result = _result_so_far(output, name=name)
    done = {int(str(entry["seed"])) for entry in result["outcomes"]}
    for seed in range(first_seed, first_seed + seeds):
        if seed in done:
            continue
        entry = _outcome(name, run_seed, seed)
        result["outcomes"].append(entry)
        failed = [each["seed"] for each in result["outcomes"] if not each["ok"]]
        result.update(seeds=len(result["outcomes"]), failed=failed, ok=not failed)
        _replace(output, result)
        logger.info("%s seed %d: %s", name, seed, "held" if entry["ok"] else entry["error"])
        if stop_at_first and failed:
            break
    return bool(result["outcomes"]) and not result["failed"]


def _outcome(name: str, run_seed: RunSeed, seed: int) -> dict[str, object]:
    workdir = Path(tempfile.mkdtemp(prefix=f"campaign-{name}-{seed}-"))
    started = time.monotonic()
    entry: dict[str, object] = {"seed": seed}
    try:
        entry.update(ok=True, counted=run_one_seed(run_seed, seed, workdir))
        shutil.rmtree(workdir, ignore_errors=True)
    except Exception as error:  # The one place where a failed seed becomes a line of the result.
        logger.debug("seed %d failed", seed, exc_info=True)
        entry.update(ok=False, error=f"{type(error).__name__}: {error}", kept=str(workdir))
    entry["duration_s"] = round(time.monotonic() - started, 3)
    return entry


def _result_so_far(output: Path, *, name: str) -> dict[str, list[dict[str, object]]]:
    commit = _commit()
    fresh: dict[str, object] = {
        **{
            "campaign": name,
            "commit": commit,
            "started_at": time.strftime("%FT%TZ", time.gmtime()),
        },
        **{"seeds": 0, "failed": [], "ok": False, "outcomes": []},
    }
    if output.exists():
        earlier = json.loads(output.read_text())
        same = earlier.get("campaign") == name and earlier.get("commit") == commit
        if same and not commit.endswith("+changes"):
            return earlier  # type: ignore[no-any-return]
        logger.info("%s is of other code (%s); starting anew", output.name, earlier.get("commit"))
    return fresh  # type: ignore[return-value]


def _commit() -> str:
    """Return the commit, with `+changes` where the work tree differs, or `unknown`."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown+changes"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_PROJECT_ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _replace(output: Path, result: Mapping[str, object]) -> None:
    beside = output.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(output)


def main(arguments: list[str] | None = None) -> int:
    """Run one campaign as the command line says."""
    parser = argparse.ArgumentParser(prog="campaign", description="Run a campaign of seeds.")
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    output = chosen.output or Path(f"campaign-{chosen.name}.json")
    try:
        held = run_campaign(
            chosen.name, seeds=chosen.seeds, first_seed=chosen.first_seed, output=output
        )
    except LookupError as unknown:
        logger.error("%s", unknown)  # noqa: TRY400 - a sentence, not a traceback
        return 2
    logger.info("%s: %s", output, "every seed held" if held else "some seeds failed")
    return 0 if held else 1


if __name__ == "__main__":
    raise SystemExit(main())

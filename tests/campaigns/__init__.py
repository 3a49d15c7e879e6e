"""Campaigns: seeded trials that run a handful of seeds in every test run and thousands on demand.

A campaign is a module `tests/campaigns/NAME.py` that does not depend on pytest and exposes

    def run_seed(seed: int, workdir: Path) -> dict[str, object]: ...

`workdir` is empty and its own. Returning means that the seed held; the dictionary (plain JSON
values) is what was counted or measured. Raising means that the seed failed; the message should
say which invariant broke and at which step. The same seed must do the same thing every time.
A module may set `SEED_LIMIT_S` (default 60): longer is a failure; and `SEEDS_IN_TESTS`, where its
seeds take real time and only a few belong into every test run.

`packaging/test.py` runs the first 20 seeds of every campaign through
`tests/simulation/test_campaigns.py`. A whole campaign is

    python3 packaging/test.py --campaign NAME --seeds 1000

which calls `python -m tests.campaigns.runner`, can be interrupted and called again (it goes on
after the last finished seed of the same commit), and writes `campaign-NAME.json` with commit,
seeds and outcome.
"""

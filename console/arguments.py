"""The command line's grammar: one parser, every command with its help (contract.md, Command
line).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def duration_s(text: str) -> float:
    """`30s`, `5m`, `2h`, `7d`, or plain seconds."""
    match = _DURATION.match(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write 30s, 5m, 2h or 7d")
    return float(match.group(1)) * _SECONDS[match.group(2)]


def size(text: str) -> tuple[int, int]:
    """`1366x700` in pixels."""
    match = re.match(r"^(\d{3,5})x(\d{3,5})$", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 1366x700")
    return int(match.group(1)), int(match.group(2))


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print exactly one JSON document")


def _reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", metavar="TEXT", help="why; goes into the audit")


def _confirm_live(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--confirm-live", default="", metavar="ACCOUNT", help=text)


def build_parser(version: str) -> argparse.ArgumentParser:
    """The whole grammar."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--config", metavar="FILE", default=argparse.SUPPRESS, help="configuration (TOML)"
    )
    common.add_argument(
        "--data-dir",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="where state, journal and logs live",
    )
    parser = argparse.ArgumentParser(
        prog="seawall",
        parents=[common],
        description="Operator console for a crypto-futures trading engine: live drawdown, a stop "
        "that is proven flat, and an outage that loses nothing. Without a command the "
        "console opens, trading on paper.",
    )
    parser.add_argument("--version", action="version", version=f"seawall {version}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[common])

    _add_run(add("run", "run the engine without a window"))
    _json(add("status", "what runs, and every safeguard; from disk when none runs"))
    for name, text in (
        ("start", "READY to RUNNING, or the conditions that are not met"),
        ("halt", "no new risk; positions are kept, exits go on"),
        ("resume", "end a halt"),
    ):
        command = add(name, text)
        if name == "start":
            _confirm_live(command, "START LIVE: real orders on this account")
        _reason(command)
        _json(command)
    reduce_only = add("reduce-only", "only what makes positions smaller, until it is switched off")
    reduce_only.add_argument("switch", choices=["on", "off"], help="what it shall be")
    _reason(reduce_only)
    _json(reduce_only)
    panic = add("panic", "emergency stop from another process, with or without the app")
    panic.add_argument("--scope", choices=["node", "desk"], default="node", help="whom it concerns")
    panic.add_argument(
        "--wait", type=duration_s, default=60.0, metavar="60s", help="how long to wait for flat"
    )
    _reason(panic)
    _json(panic)
    _add_reset(add("reset", "the guarded reset of the emergency stop; starts nothing"))
    _add_policy(add("policy", "the policy from a shell"), common)
    _add_orders(add("order", "place, cancel and close by hand, by the way of signals"), common)
    _add_records(add, common)
    _add_keys(add, common)
    bench = add("bench", "measure, each figure beside its baseline in the same run")
    bench.add_argument("names", nargs="*", metavar="NAME", help="benchmarks; all without a name")
    bench.add_argument(
        "--peers", action="store_true", help="measure the peers too, in an environment of their own"
    )
    _json(bench)
    _json(add("selftest", "prove this installation, end to end, in under a minute"))
    screenshot = add("screenshot", "every page of the console in its main states, as PNG")
    screenshot.add_argument("directory", metavar="DIR", help="where the pictures go")
    screenshot.add_argument(
        "--size", type=size, default=None, metavar="WxH", help="of the window; 1366x700 without"
    )
    screenshot.add_argument(
        "--theme", choices=["dusk", "day"], default=None, help="both without it"
    )
    return parser


def _add_orders(order: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    action = _actions(order, common)
    preview = action("preview", "what an order would come to, and every reason against it now")
    place = action("place", "send an order; it passes the same gate as a signal")
    for each in (preview, place):
        _ticket(each)
    cancel = action("cancel", "cancel an order that works at the venue")
    cancel.add_argument("order", metavar="ID", help="its client order id")
    close = action("close", "close a position at market, whole or a part of it")
    close.add_argument("symbol", metavar="SYMBOL", help="the contract, as in BTCUSDT")
    amount = close.add_mutually_exclusive_group(required=True)
    amount.add_argument("--quantity", metavar="Q", help="so much of it, in base coin")
    amount.add_argument("--all", action="store_true", help="all of it")
    listed = action("list", "orders that work, and those that ended last")
    for each in (place, cancel, close):
        _reason(each)
    for each in (preview, place, cancel, close, listed):
        _json(each)


def _ticket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("symbol", metavar="SYMBOL", help="the contract, as in BTCUSDT")
    parser.add_argument(
        "side", type=str.lower, choices=["buy", "sell"], metavar="buy|sell", help="the direction"
    )
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--quantity", metavar="Q", help="in base coin; rounded down to the step")
    amount.add_argument("--notional", metavar="N", help="in account currency")
    parser.add_argument(
        "--limit", default=None, metavar="PRICE", help="rest at this price; at market without"
    )
    parser.add_argument(
        "--leverage", default=None, metavar="L", help="the policy's largest without"
    )
    parser.add_argument(
        "--stop-loss",
        default=None,
        metavar="F",
        help="distance of the stop from the entry price, as 0.02; the policy's without",
    )
    parser.add_argument(
        "--take-profit", default=None, metavar="F", help="distance of the take-profit, likewise"
    )
    parser.add_argument(
        "--reduce-only", action="store_true", help="only make a position smaller, never larger"
    )
    parser.add_argument(
        "--even-if-identical",
        action="store_true",
        help="send it although it is the same as one of the last 5 s; audited",
    )


def _add_records(
    add: Callable[[str, str], argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    backup = add("backup", "back the state database up now, with or without a running engine")
    _reason(backup)
    _json(backup)
    audit = _actions(add("audit", "the audit trail: who did what, when, why"), common)
    _json(audit("verify", "prove it unbroken, or name the first broken link (exit 1)"))
    export = audit("export", "print every entry, oldest first")
    export.add_argument(
        "--format", choices=["csv", "json"], default="csv", help="csv unless said otherwise"
    )
    _json(export)
    for name, text in (
        ("import-state", "take the closed trades of a legacy trade_state.json"),
        ("import-buffer", "take the events of an old buffer, JSON lines or SQLite"),
    ):
        command = add(name, f"{text}; while no engine runs")
        command.add_argument("file", metavar="FILE", help="what to import")
        _reason(command)
        _json(command)
    journal = _actions(add("journal", "events that Redis refused for good"), common)
    _json(journal("list-dead", "the newest of them, each with its number and error"))
    requeue = journal("requeue", "give one another try; it gets a new number at the tail")
    requeue.add_argument("seq", type=int, metavar="SEQ", help="its number in the list")
    _reason(requeue)
    _json(requeue)


def _add_keys(
    add: Callable[[str, str], argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    keys = _actions(add("keys", "exchange keys in the operating system's keyring"), common)
    for name, text in (
        ("set", "keep a key; it and its secret are asked for, or read as two lines from stdin"),
        ("forget", "drop a key from the keyring (exit 1 when there was none)"),
        ("show", "where a key would be found, and how it ends; never more (exit 1 without one)"),
    ):
        command = keys(name, text)
        command.add_argument(
            "venue",
            nargs="?",
            choices=["binance", "bybit"],
            help="whose key it is; the configuration's [venue] without",
        )
        command.add_argument(
            "account",
            nargs="?",
            metavar="ACCOUNT",
            help="whose account: the name of the node that trades it; this node's without",
        )
        _json(command)


def _actions(
    command: argparse.ArgumentParser, common: argparse.ArgumentParser
) -> Callable[[str, str], argparse.ArgumentParser]:
    """Adds the words that follow a command."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=text, parents=[common])

    return action


def _add_run(run: argparse.ArgumentParser) -> None:
    run.add_argument("--headless", action="store_true", help="required: there is no other run")
    run.add_argument(
        "--for",
        dest="duration",
        type=duration_s,
        default=None,
        metavar="30s",
        help="end after this long; without it at the recording's end or a signal",
    )
    run.add_argument(
        "--replay", metavar="FILE", default=None, help="a recorded market: CSV or raw stream"
    )
    run.add_argument("--speed", choices=["1", "max"], default=None, help="pace of a replay")
    run.add_argument("--seed", type=int, default=None, metavar="N", help="of the simulated market")
    _confirm_live(run, "live: start trading real orders on this account, once all is ready")
    _json(run)


def _add_reset(reset: argparse.ArgumentParser) -> None:
    reset.add_argument("--cause", default="", metavar="C", help="what had happened")
    reset.add_argument("--clear", action="append", default=[], metavar="TRIP", help="trip id")
    reset.add_argument(
        "--rebase",
        action="append",
        default=[],
        choices=["peak", "day", "streak", "capital"],
        help="begin this measure anew, audited",
    )
    reset.add_argument(
        "--acknowledge", action="store_true", help="acknowledge the P1 alarms that are shown"
    )
    reset.add_argument(
        "--accept-residual",
        action="append",
        default=[],
        metavar="SYMBOL",
        help="what is left of it is below the venue's minimum and cannot be closed",
    )
    _reason(reset)
    _json(reset)


def _add_policy(policy: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = policy.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=text, parents=[common])

    show = action("show", "the policy in force")
    mode = action("mode", "switch the risk mode")
    mode.add_argument("name", metavar="NAME", help="of a profile")
    change = action("set", "change fields: max_leverage=3 or moderate.price_collar=1%")
    change.add_argument(
        "assignments", nargs="+", metavar="FIELD=VALUE", help="a field of docs/policy.md"
    )
    change.add_argument(
        "--base-version",
        type=int,
        default=None,
        metavar="N",
        help="refuse the change when the policy is no longer this version",
    )
    history = action("history", "every version with its differences")
    diff = action("diff", "compare two versions")
    diff.add_argument("before", type=int, metavar="A", help="a version")
    diff.add_argument("after", type=int, metavar="B", help="another version")
    resolve = action("resolve", "end a conflict: the policy was changed on both sides of an outage")
    resolve.add_argument(
        "choice",
        metavar="mine|theirs|stricter|NODE",
        help="whose values: this node's, the other's, the stricter of each field, or a node's",
    )
    rollback = action("rollback", "a new version equal to an old one")
    rollback.add_argument("version", type=int, metavar="N", help="the old version")
    for each in (show, mode, change, history, diff, rollback, resolve):
        _json(each)
    for each in (mode, change, rollback, resolve):
        _reason(each)


__all__ = ["build_parser", "duration_s", "size"]

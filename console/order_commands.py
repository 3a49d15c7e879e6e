"""The command `order`: preview, place, cancel, close and list, asked of a running engine.

Exit status: 0 done (a preview: it would pass), 1 refused, unknown or no engine, 2 a field that is
wrong, named. One JSON document with `--json`, sentences without. What may talk to the engine is
handed in by `console.cli`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["run_order_command"]

# An entry that the venue answers late is told after 5.5 s; a close is tried four times.
_ANSWER_S = 60.0
_TICKET = ("quantity", "notional", "leverage", "stop_loss", "take_profit")
_OPTIONS = {
    "price": "--limit",
    "override_duplicate": "--even-if-identical",
    "symbol": "SYMBOL",
    "side": "buy|sell",
    "order": "ID",
}

Ask = Callable[[str, dict[str, Any], float], dict[str, Any]]


def run_order_command(arguments: argparse.Namespace, *, ask: Ask, author: str) -> int:
    """Carry out what `arguments` name; `ask(verb, fields, timeout_s)` leaves when none runs."""
    action: str = arguments.action
    answer = ask(f"order.{action}", _fields(arguments, author), _ANSWER_S)
    if arguments.json:
        sys.stdout.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    else:
        texts = {"preview": _preview_text, "list": _list_text}
        sys.stdout.write(texts.get(action, _result_text)(answer))
    if action == "list" or answer["ok"]:
        return 0
    if problems := answer.get("problems"):
        for field, why in problems.items():
            sys.stderr.write(f"seawall: order {action}: {_option(field)}: {why}\n")
        return 2
    return 1


def _fields(arguments: argparse.Namespace, author: str) -> dict[str, Any]:
    action = arguments.action
    if action == "list":
        return {}
    fields: dict[str, Any] = {}
    if action != "preview":
        fields = {"author": author, "reason": arguments.reason}
    if action == "cancel":
        return fields | {"order": arguments.order}
    fields["symbol"] = arguments.symbol
    if action == "close":
        return fields if arguments.all else fields | {"quantity": arguments.quantity}
    fields |= {name: getattr(arguments, name) for name in _TICKET}
    return fields | {
        "side": arguments.side,
        "price": arguments.limit,
        "reduce_only": arguments.reduce_only,
        "override_duplicate": arguments.even_if_identical,
    }


def _option(field: str) -> str:
    return _OPTIONS.get(field, f"--{field.replace('_', '-')}")


def _result_text(answer: dict[str, Any]) -> str:
    rows = [("done" if answer["ok"] else "refused") + f": {answer['message']}".rstrip(": ")]
    rows += _reason_rows(answer)
    return "\n".join(rows) + "\n"


def _reason_rows(answer: dict[str, Any]) -> list[str]:
    return [f"  {one['code']}: {one['detail']}" for one in answer.get("reasons", [])]


def _preview_text(answer: dict[str, Any]) -> str:
    words = "would be sent" if answer["ok"] else "would not be sent"
    if answer["problems"]:
        return f"{words}\n"
    at = "at market" if answer["price"] is None else f"at {answer['price']}"
    mark = "no mark" if answer["mark_price"] is None else f"mark {answer['mark_price']}"
    rows = [f"{words}: {answer['quantity']} {at} ({mark})", *_reason_rows(answer)]
    for name, title in (
        ("notional", "notional"),
        ("margin", "margin"),
        ("leverage", "leverage"),
        ("stop_price", "stop at"),
        ("take_profit_price", "take profit at"),
        ("position_after", "position after"),
        ("quantity_max", "at most now"),
        ("liquidation_price", "liquidation, est."),
    ):
        if answer[name] is not None:
            rows.append(f"{title:<22}{answer[name]}")
    rows += [
        f"{room['name']:<22}{room['used']} now, {room['after']} with it, at most {room['limit']}"
        for room in answer["limits"]
    ]
    return "\n".join(rows) + "\n"


def _list_text(answer: dict[str, Any]) -> str:
    rows = []
    for title in ("working", "recent"):
        orders = answer[title]
        rows.append(f"{title}: {len(orders) or 'none'}")
        rows += [f"  {_order_row(order)}" for order in orders]
    return "\n".join(rows) + "\n"


def _order_row(order: dict[str, Any]) -> str:
    at = "market" if order["price"] is None else order["price"]
    tags = [
        word
        for word, is_so in (
            ("reduce-only", order["reduce_only"]),
            ("opened elsewhere", order["external"]),
        )
        if is_so
    ]
    tags += [order["reason"]] if order["reason"] else []
    what = f"{order['side']} {order['quantity']} {order['symbol']} {order['kind']} @ {at}"
    row = f"{order['client_order_id']:<14} {what}, filled {order['filled']}: {order['state']}"
    return row + (f" ({', '.join(tags)})" if tags else "")

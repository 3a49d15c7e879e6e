"""What the command line prints for people: plain text made from the contract's JSON documents."""

from __future__ import annotations

from typing import Any

_DRY_RUN = "DRY RUN: touches nothing at the venue; the books are simulated"


def summary_text(summary: dict[str, Any]) -> str:
    """The run summary in a few lines."""
    signals, books, redis = summary["signals"], summary["books"], summary["redis"]
    journal, stop = summary["journal"], summary["emergency"]
    lines = [
        f"{'ok' if summary['ok'] else 'FAILED'}: {summary['ticks']} trades in "
        f"{summary['duration_s']} s, seed {summary['seed']}",
        f"signals   {signals['received']} received, {signals['executed']} executed, "
        f"{signals['blocked']} blocked, {signals['dropped']} dropped, {signals['expired']} expired",
        f"orders    {summary['orders']}, fills {summary['fills']}, "
        f"open positions {summary['open_positions']}",
        f"books     initial {books['initial']}, realised {books['realised']}, "
        f"fees {books['fees']}, unrealised {books['unrealised']}, equity {books['equity']}",
        f"redis     {redis['mode']}, {redis['state']}, {len(redis['outages'])} outages, "
        f"{redis['replayed']} replayed",
        f"journal   {journal['written']} written, {journal['pending']} pending",
        f"stop      {stop['state']}" + (f", LATCHED: {stop['reason']}" if stop["latched"] else ""),
        f"digest    {summary['digest']}",
    ]
    if summary["mode"] == "dry_run":
        lines.insert(0, _DRY_RUN)
    return "\n".join(lines) + "\n"


def status_text(status: dict[str, Any]) -> str:
    """What runs, and every safeguard."""
    if not status["running"] and status["state"] == "off" and status.get("mode") is None:
        return f"seawall is not running. {status.get('why', '')}\n"
    emergency = status["emergency"]
    lines = [
        f"{'running' if status['running'] else 'not running'}: {status['mode']}, "
        f"{status['state'].upper()}  {status.get('why', '')}".rstrip(),
        f"stop      {emergency['state']}" + (" LATCHED" if emergency["latched"] else ""),
    ]
    lines += [
        f"          {trip['id']} {trip['source']}: {trip['reason']}" for trip in emergency["trips"]
    ]
    if status["mode"] == "dry_run":
        lines.insert(1, _DRY_RUN)
    policy, redis = status.get("policy"), status.get("redis")
    if policy:
        age = "" if policy["age_s"] is None else f", confirmed {policy['age_s']:.1f} s ago"
        stale = " STALE" if policy.get("stale") else ""
        lines.append(f"policy    v{policy['version']} {policy['profile']}{age}{stale}")
        if policy.get("conflict"):
            lines += [f"          {row}" for row in _conflict_rows(policy["conflict"])]
    if redis:
        lines.append(f"redis     {redis['mode']}, {redis['state']}: {redis['cause']}")
    for position in status.get("positions", []):
        lines.append(
            f"position  {position['symbol']} {position['side']} {position['quantity']} @ "
            f"{position['entry_price']}, unrealised {position['unrealised']}, "
            + ("protected" if position["protected"] else "UNPROTECTED")
        )
    for name, safeguard in status.get("safeguards", {}).items():
        lines.append(f"  {safeguard['state']:<9} {name}  {safeguard['why'] or safeguard['proof']}")
    lines += [
        f"unmet     {entry['condition']}: {entry['why']}" for entry in status.get("unmet", [])
    ]
    return "\n".join(lines) + "\n"


def result_text(result: dict[str, Any]) -> str:
    """The answer to a command."""
    lines = [
        ("done" if result["ok"] else "refused") + f": {result.get('message', '')}".rstrip(": ")
    ]
    if "state" in result:
        lines.append(f"state     {result['state']}, stop {result['emergency']['state']}")
    lines += [
        f"unmet     {entry['condition']}: {entry['why']}" for entry in result.get("unmet", [])
    ]
    lines += [f"{field}: {why}" for field, why in result.get("problems", {}).items()]
    lines += [
        f"{field}: was {base or 'unknown'}, is {theirs}, wanted {mine}"
        for field, (base, theirs, mine) in result.get("conflict_fields", {}).items()
    ]
    lines += [f"re-based  {name}: {text}" for name, text in result.get("rebased", {}).items()]
    if result.get("version") is not None:
        lines.append(f"policy    v{result['version']}")
    return "\n".join(lines) + "\n"


def policy_text(action: str, document: dict[str, Any]) -> str:
    """`policy show`, `history` and `diff`."""
    if action == "show":
        active = document["profiles"][document["profile"]]
        rows = [f"v{document['version']} by {document['author']}: {document['profile']}"]
        rows += [f"  {name:<24} {value}" for name, value in _flat(active)]
        rows.append(f"  allow_new_trades         {str(document['allow_new_trades']).lower()}")
        shared = document["shared"]
        age = "never" if shared["age_s"] is None else f"{shared['age_s']:.1f} s ago"
        stale = ", STALE" if shared["stale"] else ""
        rows.append(f"from {shared['source']}, confirmed {age}{stale}")
        if shared["note"]:
            rows.append(shared["note"])
        if shared["conflict"]:
            rows += _conflict_rows(shared["conflict"])
        return "\n".join(rows) + "\n"
    versions = document["versions"] if action == "history" else [document]
    rows = []
    for version in versions:
        if action == "history":
            rows.append(f"v{version['version']} by {version['author']}: {version['reason']}")
        rows += [f"  {name}: {old} -> {new}" for name, (old, new) in version["changes"].items()]
    return "\n".join(rows) + "\n"


def _conflict_rows(conflict: dict[str, Any]) -> list[str]:
    rows = ["CONFLICT: the stricter value of each field holds until `seawall policy resolve`"]
    for side in conflict["sides"]:
        rows.append(f"  {side['node']}: v{side['version']} by {side['author']}: {side['reason']}")
    for name, values in conflict["fields"].items():
        pairs = zip(conflict["sides"], values, strict=True)
        rows.append(f"  {name}: " + ", ".join(f"{side['node']} {value}" for side, value in pairs))
    return rows


def _flat(profile: dict[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in profile.items():
        if isinstance(value, dict):
            rows += [(f"{name}.{leaf}", str(inner)) for leaf, inner in value.items()]
        else:
            rows.append((name, str(value).lower() if isinstance(value, bool) else str(value)))
    return rows


def bench_text(results: list[dict[str, Any]]) -> str:
    """One line a benchmark, baseline beside it."""
    rows = [f"{'name':<22}{'ours':>14}  {'baseline':>14}  {'ratio':>8}  unit"]
    for entry in results:
        baseline = entry["baseline"]
        value = "-" if baseline["value"] is None else f"{baseline['value']:.4g}"
        ratio = "-" if entry["ratio"] is None else f"{entry['ratio']:.3g}"
        rows.append(
            f"{entry['name']:<22}{entry['ours']:>14.4g}  {value:>14}  {ratio:>8}  {entry['unit']}"
            f"  ({baseline['name']}; {entry['better']} is better; {entry['notes']})"
        )
    return "\n".join(rows) + "\n"


def selftest_text(outcome: dict[str, Any]) -> str:
    """One line a check."""
    rows = [
        f"{'ok  ' if check['ok'] else 'FAIL'} {check['name']}"
        + (f": {check['why']}" if check["why"] else "")
        for check in outcome["checks"]
    ]
    return "\n".join(rows) + ("\nthis installation works\n" if outcome["ok"] else "\nFAILED\n")


__all__ = [
    "bench_text",
    "policy_text",
    "result_text",
    "selftest_text",
    "status_text",
    "summary_text",
]

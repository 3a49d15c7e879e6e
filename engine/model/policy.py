"""The policy document: profiles of limits, the active one, and who changed it when.

Why here: every limit of the engine is declared once, in `FIELDS`, with unit, range, compiled
ceiling and which direction is stricter; parser, gate, policy page and docs read the same table
(contract.md, Policy profile). Fractions are positive decimals (0.10 = ten per cent), money in
account currency. Pure: nothing here reads a clock or a file. Wrong values are reported all at once,
by field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal

import msgspec

from engine.model.errors import PolicyInvalid
from engine.model.values import ONE, plain

PROFILE_NAMES = ("defensive", "conservative", "moderate", "aggressive")
PROTECTED_LOSS_MAX = Decimal("0.8")


class Governor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rungs of the risk governor: loss from initial capital, and the way back down."""

    soft: Decimal
    quarantine: Decimal
    hard: Decimal
    recover: Decimal
    cooldown_s: int


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One risk mode. Field by field in `FIELDS`."""

    position_fraction: Decimal
    max_leverage: Decimal
    drawdown_soft: Decimal
    drawdown_hard: Decimal
    max_daily_loss: Decimal
    max_consecutive_losses: int
    min_balance: Decimal
    max_open_positions: int
    max_position_notional: Decimal
    max_gross_exposure: Decimal
    max_order_notional: Decimal
    price_collar: Decimal
    max_orders_per_minute: int
    max_hold_s: int
    protective_stop: Decimal
    allow_naked: bool
    signal_rate: Decimal
    signal_queue: int
    signal_ttl_s: Decimal
    max_market_data_age_s: Decimal
    max_policy_age_s: Decimal
    governor: Governor


class PolicyDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A version of the policy. `profile` names the active one of `profiles`."""

    version: int
    author: str
    ts_ns: int
    reason: str
    profile: str
    profiles: dict[str, Profile]
    allow_new_trades: bool

    @property
    def active(self) -> Profile:
        return self.profiles[self.profile]


Value = Decimal | int | bool
Kind = Literal["fraction", "money", "count", "multiple", "seconds", "rate", "flag"]


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Declaration of one policy field. `ceiling` is compiled in: no editor can pass it."""

    name: str
    section: str
    title: str
    unit: str
    kind: Kind
    minimum: Decimal
    ceiling: Decimal
    stricter: Literal["lower", "higher", "false"] = "lower"
    zero_is_off: bool = False
    help: str = ""


def _field(
    name: str,
    section: str,
    title: str,
    unit: str,
    kind: Kind,
    low: str,
    high: str,
    text: str,
    *,
    stricter: Literal["lower", "higher", "false"] = "lower",
    zero_is_off: bool = False,
) -> FieldSpec:
    return FieldSpec(
        name=name,
        section=section,
        title=title,
        unit=unit,
        kind=kind,
        minimum=Decimal(low),
        ceiling=Decimal(high),
        stricter=stricter,
        zero_is_off=zero_is_off,
        help=text,
    )


_LOSS, _EXPOSURE, _ORDERS, _SIGNALS, _DATA = (
    "Loss limits",
    "Exposure",
    "Orders",
    "Signals",
    "Data age",
)
FIELDS: tuple[FieldSpec, ...] = (
    _field(
        "drawdown_soft", _LOSS, "Drawdown, soft", "of the peak", "fraction", "0.001", "0.5",
        "At this loss from the peak entries are held.",
    ),
    _field(
        "drawdown_hard", _LOSS, "Drawdown, hard", "of the peak", "fraction", "0.002", "0.5",
        "At this loss from the peak the emergency stop closes everything.",
    ),
    _field(
        "max_daily_loss", _LOSS, "Daily loss", "of the day's start", "fraction", "0.001", "0.5",
        "At this loss since midnight UTC the emergency stop closes everything.",
    ),
    _field(
        "max_consecutive_losses", _LOSS, "Losing trades in a row", "trades", "count", "0", "100",
        "So many losing trades in a row trip the emergency stop; 0 is off, and refused on live.",
        zero_is_off=True,
    ),
    _field(
        "min_balance", _LOSS, "Minimum balance", "account currency", "money", "0", "1000000000",
        "Below this equity the emergency stop closes everything.", stricter="higher",
    ),
    _field(
        "governor.soft", _LOSS, "Governor: half size", "of initial capital", "fraction",
        "0.001", "0.9",
        "At this loss from initial capital new positions are half as large.",
    ),
    _field(
        "governor.quarantine", _LOSS, "Governor: reduce only", "of initial capital", "fraction",
        "0.001", "0.9", "At this loss from initial capital only exits are allowed.",
    ),
    _field(
        "governor.hard", _LOSS, "Governor: stop", "of initial capital", "fraction", "0.001", "0.9",
        "At this loss from initial capital the emergency stop closes everything.",
    ),
    _field(
        "governor.recover", _LOSS, "Governor: recovered below", "of initial capital", "fraction",
        "0", "0.9", "The governor steps down only below this loss, after its cool-down.",
    ),
    _field(
        "governor.cooldown_s", _LOSS, "Governor: cool-down", "s", "seconds", "0", "604800",
        "How long the loss must have stayed below the recovery line.", stricter="higher",
    ),
    _field(
        "position_fraction", _EXPOSURE, "Margin per position", "of equity", "fraction", "0", "0.5",
        "Margin of one position as a fraction of equity; notional = fraction × equity × leverage.",
    ),
    _field(
        "max_leverage", _EXPOSURE, "Leverage", "×", "multiple", "1", "125",
        "Leverage used for sizing and allowed at most.",
    ),
    _field(
        "max_open_positions", _EXPOSURE, "Open positions", "positions", "count", "0", "200",
        "Positions open at once, entries in flight counted.",
    ),
    _field(
        "max_position_notional", _EXPOSURE, "Position size", "account currency", "money", "0",
        "1000000000", "Value of one symbol's position, everything in flight counted.",
    ),
    _field(
        "max_gross_exposure", _EXPOSURE, "Gross exposure", "× equity", "multiple", "0", "20",
        "Sum of all positions' values over equity, everything in flight counted.",
    ),
    _field(
        "max_order_notional", _ORDERS, "Order size", "account currency", "money", "0", "1000000000",
        "Value of one order.",
    ),
    _field(
        "price_collar", _ORDERS, "Price collar", "of the mark", "fraction", "0.0001", "0.2",
        "How far from the mark a price may be.",
    ),
    _field(
        "max_orders_per_minute", _ORDERS, "Orders a minute", "orders/min", "rate", "0", "1200",
        "Entries sent in any 60 seconds.",
    ),
    _field(
        "max_hold_s", _ORDERS, "Longest holding time", "s", "seconds", "0", "2592000",
        "A position held longer is closed at market; 0 is off.", zero_is_off=True,
    ),
    _field(
        "protective_stop", _ORDERS, "Protective stop", "of the entry price", "fraction", "0.0005",
        "0.5", "Distance of the stop-loss that every entry carries.",
    ),
    _field(
        "allow_naked", _ORDERS, "Positions without a stop", "", "flag", "0", "1",
        "Keep a position whose protective stop could not be placed.", stricter="false",
    ),
    _field(
        "signal_rate", _SIGNALS, "Signals executed", "1/s", "rate", "0", "50",
        "Signals executed in a second, best confidence first.",
    ),
    _field(
        "signal_queue", _SIGNALS, "Signal queue", "signals", "count", "1", "100",
        "Signals waiting; when full the lowest confidence loses its place.",
    ),
    _field(
        "signal_ttl_s", _SIGNALS, "Signal's time to live", "s", "seconds", "0.1", "300",
        "An older signal is discarded.",
    ),
    _field(
        "max_market_data_age_s", _DATA, "Market data age", "s", "seconds", "0.1", "60",
        "Entries are held when the symbol's last price is older.",
    ),
    _field(
        "max_policy_age_s", _DATA, "Policy age", "s", "seconds", "1", "86400",
        "Entries are held when the authority confirmed the policy longer ago.",
    ),
)  # fmt: skip
FIELD_BY_NAME: dict[str, FieldSpec] = {spec.name: spec for spec in FIELDS}


def _profile(initial: Decimal, *, fraction: str, leverage: int, gross: str, streak: int) -> Profile:
    notional = initial * Decimal(fraction) * leverage
    return Profile(
        position_fraction=Decimal(fraction),
        max_leverage=Decimal(leverage),
        drawdown_soft=Decimal("0.05"),
        drawdown_hard=Decimal("0.10"),
        max_daily_loss=Decimal("0.05"),
        max_consecutive_losses=streak,
        min_balance=initial / 2,
        max_open_positions=5,
        max_position_notional=notional,
        max_gross_exposure=Decimal(gross),
        max_order_notional=notional,
        price_collar=Decimal("0.02"),
        max_orders_per_minute=60,
        max_hold_s=14_400,
        protective_stop=Decimal("0.03"),
        allow_naked=False,
        signal_rate=Decimal(2),
        signal_queue=100,
        signal_ttl_s=Decimal(5),
        max_market_data_age_s=Decimal(5),
        max_policy_age_s=Decimal(300),
        governor=Governor(
            soft=Decimal("0.10"),
            quarantine=Decimal("0.15"),
            hard=Decimal("0.20"),
            recover=Decimal("0.05"),
            cooldown_s=3_600,
        ),
    )


def seeded(initial: Decimal, *, live: bool, ts_ns: int = 0) -> PolicyDocument:
    """The first policy of a new data directory, for `initial` capital in account currency."""
    streak = 5 if live else 0
    return PolicyDocument(
        version=1,
        author="seawall",
        ts_ns=ts_ns,
        reason="seeded with a new data directory",
        profile="conservative",
        profiles={
            "defensive": _profile(initial, fraction="0.01", leverage=2, gross="0.1", streak=streak),
            "conservative": _profile(
                initial, fraction="0.02", leverage=5, gross="0.5", streak=streak
            ),
            "moderate": _profile(initial, fraction="0.05", leverage=10, gross="2", streak=streak),
            "aggressive": _profile(initial, fraction="0.10", leverage=20, gross="4", streak=streak),
        },
        allow_new_trades=not live,
    )


def get_value(profile: Profile, name: str) -> Value:
    """Value of a dotted field name; KeyError when there is no such field."""
    FIELD_BY_NAME[name]
    group, _, leaf = name.rpartition(".")
    value: Value = getattr(profile.governor if group else profile, leaf)
    return value


def value_text(value: Value) -> str:
    """How a value is written in JSON, diffs and on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return plain(value) if isinstance(value, Decimal) else str(value)


def parse_value(spec: FieldSpec, text: str) -> Value:
    """Parse operator input for a field; ValueError says what would be right."""
    cleaned = text.strip().replace("\u2009", "").replace(",", "").replace("_", "")
    if spec.kind == "flag":
        if cleaned.lower() in {"true", "yes", "on"}:
            return True
        if cleaned.lower() in {"false", "no", "off"}:
            return False
        raise ValueError("must be true or false")
    percent = cleaned.endswith("%")
    try:
        number = Decimal(cleaned.rstrip("% ") if percent else cleaned)
    except ArithmeticError as error:
        raise ValueError(f"{text!r} is not a number") from error
    if not number.is_finite():
        raise ValueError("must be a finite number")
    if percent:
        if spec.kind != "fraction":
            raise ValueError(f"is in {spec.unit}, not in per cent")
        number /= 100
    if type_of(spec.name) is int:
        if number != number.to_integral_value():
            raise ValueError("must be a whole number")
        return int(number)
    return number


def type_of(name: str) -> type:
    """int, bool or Decimal: how the field is stored."""
    owner: type[msgspec.Struct] = Governor if name.startswith("governor.") else Profile
    leaf = name.rpartition(".")[2]
    for field in msgspec.structs.fields(owner):
        if field.name == leaf:
            assert isinstance(field.type, type)
            return field.type
    raise KeyError(name)


def range_text(spec: FieldSpec) -> str:
    """The allowed range in words, e.g. `0.001 to 0.5 of the peak`."""
    if spec.kind == "flag":
        return "true or false"
    return f"{plain(spec.minimum)} to {plain(spec.ceiling)} {spec.unit}".strip()


def replace_value(profile: Profile, name: str, value: Value) -> Profile:
    """A profile with one dotted field changed; not validated."""
    group, _, leaf = name.rpartition(".")
    if group:
        return msgspec.structs.replace(
            profile, governor=msgspec.structs.replace(profile.governor, **{leaf: value})
        )
    return msgspec.structs.replace(profile, **{leaf: value})


def split_name(document: PolicyDocument, name: str) -> tuple[str, str]:
    """Split `aggressive.max_leverage` into profile and field; a bare name means the active
    profile.
    """
    head, _, rest = name.partition(".")
    return (head, rest) if head in document.profiles and rest else (document.profile, name)


def with_changes(document: PolicyDocument, changes: Mapping[str, str]) -> PolicyDocument:
    """Apply text changes by name (fields, `profile`, `allow_new_trades`); PolicyInvalid names all
    faults.

    The result is validated; version, author, time and reason are the caller's business.
    """
    problems: dict[str, str] = {}
    profiles = dict(document.profiles)
    active, allow = document.profile, document.allow_new_trades
    for name, text in changes.items():
        if name == "profile":
            active = text
        elif name == "allow_new_trades":
            if text.lower() not in {"true", "false"}:
                problems[name] = "must be true or false"
            allow = text.lower() == "true"
        else:
            owner, field = split_name(document, name)
            spec = FIELD_BY_NAME.get(field)
            if spec is None:
                problems[name] = f"no such field; known are {', '.join(FIELD_BY_NAME)}"
                continue
            try:
                profiles[owner] = replace_value(profiles[owner], field, parse_value(spec, text))
            except ValueError as error:
                problems[name] = str(error)
    if problems:
        raise PolicyInvalid(problems)
    return msgspec.structs.replace(
        document, profiles=profiles, profile=active, allow_new_trades=allow
    )


def _check_profile(name: str, profile: Profile, *, live: bool) -> dict[str, str]:
    problems: dict[str, str] = {}
    for spec in FIELDS:
        value = get_value(profile, spec.name)
        if spec.kind != "flag" and not spec.minimum <= value <= spec.ceiling:
            problems[f"{name}.{spec.name}"] = f"{value_text(value)} is outside {range_text(spec)}"
    if not profile.drawdown_soft < profile.drawdown_hard:
        problems.setdefault(f"{name}.drawdown_soft", "must be below drawdown_hard")
    rungs = profile.governor
    if not rungs.recover < rungs.soft < rungs.quarantine < rungs.hard:
        problems.setdefault(
            f"{name}.governor.soft", "the rungs must rise: recover < soft < quarantine < hard"
        )
    if (
        not profile.allow_naked
        and profile.protective_stop * profile.max_leverage > PROTECTED_LOSS_MAX
    ):
        problems.setdefault(
            f"{name}.protective_stop",
            f"× max_leverage is {plain(profile.protective_stop * profile.max_leverage)}, "
            f"at most {PROTECTED_LOSS_MAX} (or liquidation comes first) unless allow_naked",
        )
    if live and profile.max_consecutive_losses == 0:
        problems.setdefault(f"{name}.max_consecutive_losses", "0 (off) is refused on live")
    return problems


def validate(document: PolicyDocument, *, live: bool) -> dict[str, str]:
    """Every fault of a document by dotted field; empty when it is valid."""
    problems: dict[str, str] = {}
    if set(document.profiles) != set(PROFILE_NAMES):
        problems["profiles"] = f"must be exactly {', '.join(PROFILE_NAMES)}"
    if document.profile not in document.profiles:
        problems["profile"] = f"must be one of {', '.join(document.profiles)}"
    for name, profile in document.profiles.items():
        problems.update(_check_profile(name, profile, live=live))
    return problems


Direction = Literal["tighter", "looser", "same"]


def direction(spec: FieldSpec, before: Value, after: Value) -> Direction:
    """Whether a change makes a limit stricter; an `off` zero is the loosest value of its field."""
    if before == after:
        return "same"
    if spec.zero_is_off and (before == 0 or after == 0):
        return "looser" if after == 0 else "tighter"
    if spec.stricter == "higher":
        return "tighter" if after > before else "looser"
    return "tighter" if after < before else "looser"


def stricter_value(spec: FieldSpec, one: Value, other: Value) -> Value:
    """The stricter of two values; used where two authorities disagree."""
    return other if direction(spec, one, other) == "tighter" else one


def diff(before: PolicyDocument, after: PolicyDocument) -> dict[str, tuple[str, str]]:
    """Every difference as dotted name → (before, after), texts."""
    changes: dict[str, tuple[str, str]] = {}
    for name in sorted(set(before.profiles) & set(after.profiles)):
        for spec in FIELDS:
            one = get_value(before.profiles[name], spec.name)
            two = get_value(after.profiles[name], spec.name)
            if one != two:
                changes[f"{name}.{spec.name}"] = (value_text(one), value_text(two))
    if before.profile != after.profile:
        changes["profile"] = (before.profile, after.profile)
    if before.allow_new_trades != after.allow_new_trades:
        changes["allow_new_trades"] = (
            value_text(before.allow_new_trades),
            value_text(after.allow_new_trades),
        )
    return changes


def is_looser(before: PolicyDocument, after: PolicyDocument) -> bool:
    """Whether anything in force would be looser: the active profiles compared, and
    allow_new_trades.

    Changes inside a profile that is not active count too: it may be switched to later with one
    action.
    """
    if after.allow_new_trades and not before.allow_new_trades:
        return True
    pairs = [(before.profiles[name], after.profiles[name]) for name in before.profiles]
    if before.profile != after.profile:
        pairs.append((before.active, after.active))
    return any(
        direction(spec, get_value(one, spec.name), get_value(two, spec.name)) == "looser"
        for one, two in pairs
        for spec in FIELDS
    )


_ENCODER = msgspec.json.Encoder(order="sorted")


def document_json(document: PolicyDocument) -> bytes:
    """Canonical JSON of a document: sorted keys, decimals as strings."""
    return _ENCODER.encode(document)


def document_hash(document: PolicyDocument) -> str:
    """Hex SHA-256 of the canonical JSON."""
    return hashlib.sha256(document_json(document)).hexdigest()


def document_from_json(body: bytes | str) -> PolicyDocument:
    """Decode strictly; raises msgspec.ValidationError naming the path."""
    return msgspec.json.decode(body, type=PolicyDocument)


assert ONE >= PROTECTED_LOSS_MAX

__all__ = [
    "FIELDS",
    "FIELD_BY_NAME",
    "PROFILE_NAMES",
    "Direction",
    "FieldSpec",
    "Governor",
    "PolicyDocument",
    "Profile",
    "diff",
    "direction",
    "document_from_json",
    "document_hash",
    "document_json",
    "get_value",
    "is_looser",
    "parse_value",
    "range_text",
    "replace_value",
    "seeded",
    "split_name",
    "stricter_value",
    "type_of",
    "validate",
    "value_text",
    "with_changes",
]

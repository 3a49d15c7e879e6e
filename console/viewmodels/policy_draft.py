"""The policy draft: what an operator changed, whether it is valid, which way it moves.

What: texts by dotted field name over a base document. Checks are the engine's own functions from
``engine.model.policy``, so the page cannot judge differently from the engine. Tightening is one
click; anything looser needs a reason and a hold, and is refused while latched (R48), except the
minimum balance when that is what tripped. Two editors: fields the other did not touch are merged,
clashing ones are shown three ways (R52). Fractions are shown in per cent; texts are the
operator's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from console.viewmodels.formatting import grouped
from engine.model.emergency import TripSource
from engine.model.errors import PolicyInvalid
from engine.model.policy import (
    FIELD_BY_NAME,
    FIELDS,
    FieldSpec,
    PolicyDocument,
    Value,
    diff,
    direction,
    get_value,
    is_looser,
    parse_value,
    validate,
    value_text,
    with_changes,
)
from engine.model.snapshots import EngineSnapshot
from engine.model.values import plain

__all__ = [
    "SECTIONS",
    "ChangeRow",
    "ClashRow",
    "FieldRow",
    "PolicyDraft",
    "change_rows",
    "field_title",
    "range_words",
    "shown_text",
    "shown_value",
]

SECTIONS: Final = tuple(dict.fromkeys(spec.section for spec in FIELDS))


def shown_value(spec: FieldSpec, value: Value) -> str:
    """A value as the page writes it: fractions in per cent, thin-space thousands, yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if spec.zero_is_off and value == 0:
        return "0 (off)"
    if spec.kind == "fraction" and isinstance(value, Decimal):
        return f"{grouped(plain(value * 100))} %"
    return grouped(value_text(value))


def range_words(spec: FieldSpec, currency: str) -> str:
    """``0.1 % to 50 % of the peak``; money in the account's own currency."""
    if spec.kind == "flag":
        return "yes or no"
    low, high = shown_value(spec, spec.minimum), shown_value(spec, spec.ceiling)
    unit = spec.unit.replace("account currency", currency)
    return f"{low.removesuffix(' (off)')} to {high} {unit}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRow:
    """One field on the page."""

    name: str
    title: str
    active: str
    draft: str
    range: str
    help: str
    movement: str
    error: str
    is_flag: bool

    @property
    def is_changed(self) -> bool:
        """Whether the draft differs."""
        return bool(self.movement or self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """One line of a diff."""

    name: str
    title: str
    before: str
    after: str
    movement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClashRow:
    """One field both editors changed."""

    name: str
    title: str
    mine: str
    now: str
    original: str


class PolicyDraft:
    """The operator's changes over one base document."""

    def __init__(self, base: PolicyDocument) -> None:
        self.base = base
        self._texts: dict[str, str] = {}
        self.reason = ""
        self.currency = ""
        self._conflict_with: PolicyDocument | None = None
        self._engine_problems: dict[str, str] = {}

    @property
    def changes(self) -> Mapping[str, str]:
        """What would be sent: texts by dotted name."""
        return dict(self._texts)

    @property
    def conflict_version(self) -> int | None:
        """The version somebody else stored meanwhile, while unresolved."""
        return None if self._conflict_with is None else self._conflict_with.version

    def edit(self, profile: str, field: str, text: str) -> None:
        """Take an operator's text; the value in force again means no change."""
        name = f"{profile}.{field}"
        spec = FIELD_BY_NAME[field]
        self._engine_problems.pop(name, None)
        try:
            value = parse_value(spec, text.removesuffix("(off)"))
        except ValueError:
            self._texts[name] = text
            return
        if value == get_value(self.base.profiles[profile], field):
            self._texts.pop(name, None)
        else:
            self._texts[name] = value_text(value)

    def allow_new_trades(self, allowed: bool) -> None:
        """Draft the switch for new trades."""
        if allowed == self.base.allow_new_trades:
            self._texts.pop("allow_new_trades", None)
        else:
            self._texts["allow_new_trades"] = "true" if allowed else "false"

    def discard(self) -> None:
        """Forget every change."""
        self._texts.clear()
        self._engine_problems.clear()
        self._conflict_with = None
        self.reason = ""

    def rebase(self, document: PolicyDocument) -> None:
        """Somebody stored ``document``: merge what does not clash, keep what does as a conflict."""
        if document.version == self.base.version:
            return
        if not self._texts:
            self.base = document
            self._conflict_with = None
            return
        if self._clashes(document):
            self._conflict_with = document
        else:
            self._adopt(document)

    def clashes(self) -> tuple[ClashRow, ...]:
        """The fields both sides changed, three ways."""
        return () if self._conflict_with is None else self._clashes(self._conflict_with)

    def resolve(self, *, keep_mine: frozenset[str]) -> None:
        """Choose per clashing field; the rest takes the other's value. Then check again."""
        document = self._conflict_with
        if document is None:
            return
        for clash in self._clashes(document):
            if clash.name not in keep_mine:
                self._texts.pop(clash.name, None)
        self._adopt(document)

    def note_problems(self, problems: Mapping[str, str]) -> None:
        """Faults the engine found, by dotted name."""
        self._engine_problems = dict(problems)

    def problems(self, *, live: bool) -> dict[str, str]:
        """Every fault, by dotted name; empty when the draft may be applied."""
        found = dict(self._engine_problems)
        try:
            document = with_changes(self.base, self._texts)
        except PolicyInvalid as error:
            found.update(error.problems)
            valid = {name: text for name, text in self._texts.items() if name not in error.problems}
            document = with_changes(self.base, valid)
        for name, text in validate(document, live=live).items():
            found.setdefault(name, text)
        return found

    def document(self) -> PolicyDocument | None:
        """The drafted document, or None while a text cannot be read."""
        try:
            return with_changes(self.base, self._texts)
        except PolicyInvalid:
            return None

    def is_looser(self) -> bool:
        """Whether anything in the draft relaxes safety."""
        document = self.document()
        return document is not None and is_looser(self.base, document)

    def refusal(self, snapshot: EngineSnapshot | None) -> str:
        """Why the draft cannot be applied now, or nothing."""
        if not self._texts:
            return "no changes"
        if self._conflict_with is not None:
            return f"v{self._conflict_with.version} was stored meanwhile: choose per field"
        count = len(self.problems(live=snapshot is not None and snapshot.mode != "paper"))
        if count:
            return f"{count} fields need correcting" if count > 1 else "1 field needs correcting"
        if self.is_looser():
            if (
                snapshot is not None
                and snapshot.emergency.latched
                and not self._is_freeing(snapshot)
            ):
                return "while the stop is latched, limits can only be tightened"
            if snapshot is not None and _is_past_soft(snapshot):
                return "past the soft drawdown limit, limits can only be tightened"
            if not self.reason.strip():
                return "a looser limit needs a reason"
        return ""

    def rows(self, profile: str, section: str, *, live: bool) -> tuple[FieldRow, ...]:
        """The fields of one section of one profile."""
        problems = self.problems(live=live)
        return tuple(
            self._row(profile, spec, problems.get(f"{profile}.{spec.name}", ""))
            for spec in FIELDS
            if spec.section == section
        )

    def changed_sections(self, profile: str) -> dict[str, int]:
        """How many changes each section of a profile holds."""
        counts = dict.fromkeys(SECTIONS, 0)
        for name in self._texts:
            owner, _, field = name.partition(".")
            if owner == profile and field in FIELD_BY_NAME:
                counts[FIELD_BY_NAME[field].section] += 1
        return counts

    def diff_rows(self) -> tuple[ChangeRow, ...]:
        """The draft against its base."""
        document = self.document()
        return () if document is None else change_rows(self.base, document)

    def _row(self, profile: str, spec: FieldSpec, error: str) -> FieldRow:
        value = get_value(self.base.profiles[profile], spec.name)
        text = self._texts.get(f"{profile}.{spec.name}")
        draft, movement = shown_value(spec, value), ""
        if text is not None:
            try:
                parsed = parse_value(spec, text)
            except ValueError:
                draft = text
            else:
                draft = shown_value(spec, parsed)
                movement = direction(spec, value, parsed)
                if spec.kind != "flag" and not spec.minimum <= parsed <= spec.ceiling:
                    error = f"must be {range_words(spec, self.currency)}"
        return FieldRow(
            name=spec.name,
            title=spec.title,
            active=shown_value(spec, value),
            draft=draft,
            range=range_words(spec, self.currency),
            help=spec.help,
            movement=movement,
            error=error,
            is_flag=spec.kind == "flag",
        )

    def _clashes(self, document: PolicyDocument) -> tuple[ClashRow, ...]:
        theirs = diff(self.base, document)
        return tuple(
            ClashRow(
                name=name,
                title=field_title(name, self.base.profile),
                mine=shown_text(name, text),
                now=shown_text(name, theirs[name][1]),
                original=shown_text(name, theirs[name][0]),
            )
            for name, text in self._texts.items()
            if name in theirs and theirs[name][1] != text
        )

    def _adopt(self, document: PolicyDocument) -> None:
        texts, self._texts = self._texts, {}
        self.base = document
        self._conflict_with = None
        for name, text in texts.items():
            owner, _, field = name.partition(".")
            if field:
                self.edit(owner, field, text)
            elif name == "allow_new_trades":
                self.allow_new_trades(text == "true")

    def _is_freeing(self, snapshot: EngineSnapshot) -> bool:
        # The minimum balance is what tripped: it must be changed before a reset, and nothing
        # else may be.
        tripped = any(trip.source is TripSource.MIN_BALANCE for trip in snapshot.emergency.trips)
        return tripped and all(name.endswith(".min_balance") for name in self._texts)


def _is_past_soft(snapshot: EngineSnapshot) -> bool:
    drawdown = snapshot.risk.drawdown
    return drawdown is not None and drawdown >= snapshot.risk.drawdown_soft


def field_title(name: str, active: str) -> str:
    """What a dotted field is called where `active` is the active profile."""
    if name == "profile":
        return "Active profile"
    if name == "allow_new_trades":
        return "New trades"
    owner, _, field = name.partition(".")
    spec = FIELD_BY_NAME.get(field)
    if spec is None:
        return name
    return spec.title if owner == active else f"{owner}: {spec.title}"


def shown_text(name: str, text: str) -> str:
    """A field's stored text as it is shown, with its unit."""
    spec = FIELD_BY_NAME.get(name.partition(".")[2])
    if spec is None:
        return {"true": "allowed", "false": "not allowed"}.get(text, text)
    try:
        return shown_value(spec, parse_value(spec, text))
    except ValueError:
        return text


def change_rows(before: PolicyDocument, after: PolicyDocument) -> tuple[ChangeRow, ...]:
    """A diff of two documents as lines, each with its direction."""
    rows = []
    for name, (old, new) in diff(before, after).items():
        rows.append(
            ChangeRow(
                name=name,
                title=field_title(name, before.profile),
                before=shown_text(name, old),
                after=shown_text(name, new),
                movement=_movement(name, before, after),
            )
        )
    return tuple(rows)


def _movement(name: str, before: PolicyDocument, after: PolicyDocument) -> str:
    if name == "allow_new_trades":
        return "looser" if after.allow_new_trades else "tighter"
    if name == "profile":
        pair = (before.profiles[before.profile], after.profiles[after.profile])
        moves = {
            direction(spec, get_value(pair[0], spec.name), get_value(pair[1], spec.name))
            for spec in FIELDS
        }
        return "looser" if "looser" in moves else "tighter" if "tighter" in moves else "same"
    owner, _, field = name.partition(".")
    spec = FIELD_BY_NAME[field]
    return direction(
        spec, get_value(before.profiles[owner], field), get_value(after.profiles[owner], field)
    )

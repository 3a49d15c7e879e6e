"""The payload of an event: its own fields and nothing else, whatever the common fields contain."""

from __future__ import annotations

import msgspec
import pytest

from engine.model.events import ALL_EVENTS, COMMON_FIELDS, AlarmRaised, Event, decode, payload
from engine.model.ids import EventId, TraceId


@pytest.mark.parametrize("kind", ALL_EVENTS, ids=lambda kind: kind.TYPE)
def test_every_type_begins_with_the_common_fields(kind: type[Event]) -> None:
    assert kind.__struct_fields__[: len(COMMON_FIELDS)] == COMMON_FIELDS
    assert len(kind.__struct_fields__) > len(COMMON_FIELDS)


def test_common_fields_that_look_like_a_payload_do_not_confuse_it() -> None:
    nasty = ',"code":"x","text":{\\"'
    event = AlarmRaised(
        id=EventId(nasty),
        ts_ns=1,
        source=nasty,
        trace=TraceId(nasty),
        code=nasty,
        priority=1,
        text="ünïcode",
        action="",
    )
    body = payload(event)
    assert msgspec.json.decode(body) == {
        "code": nasty,
        "priority": 1,
        "text": "ünïcode",
        "action": "",
    }
    assert decode(event.TYPE, event.id, event.ts_ns, event.source, event.trace, body) == event

"""Old event buffers: ordered by time, once each, bad lines by number."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from engine.journal import read_buffer
from engine.model.errors import OperatorMessage

_AT = 1_722_945_600


def test_json_lines_of_both_shapes_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    path = tmp_path / "buffer.jsonl"
    late = {
        "event_type": "trade.closed",
        "message": {"payload": '{"pnl": 1.10}', "trace_id": "tr-1"},
        "buffered_at": f"{_AT + 5}.5",
    }
    early = (
        f'{{"event_type": "trade.opened", "event_id": "e-1", "timestamp": {_AT},'
        ' "event_data": {"price":  60000.10, "n": 12345678901234567890.123}}'
    )
    lines = [
        json.dumps(late),
        "",
        early,
        "not JSON",
        '{"event_type": "x", "event_data": {"a": 1}',
        json.dumps({"event_type": "x", "event_data": [1], "timestamp": _AT}),
        json.dumps({"event_type": "", "event_data": {}, "timestamp": _AT}),
        json.dumps({"event_type": "x", "event_data": {}, "timestamp": "soon"}),
        json.dumps({"event_type": "x", "message": {"payload": "{"}, "buffered_at": _AT}),
        "[1]",
        early,
        json.dumps(late),
        json.dumps({"event_type": "x", "event_data": {}, "event_id": 7}),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    reading = read_buffer(path)
    assert [event.type for event in reading.events] == ["trade.opened", "trade.closed", "x"]
    opened, closed, untimed = reading.events
    assert (opened.event_id, opened.ts_ns) == ("e-1", _AT * 10**9)
    # To the byte: no float has touched it.
    assert opened.payload == b'{"price":  60000.10, "n": 12345678901234567890.123}'
    assert (closed.ts_ns, closed.trace) == ((_AT + 5) * 10**9 + 500_000_000, "tr-1")
    assert closed.payload == b'{"pnl": 1.10}'
    assert (untimed.event_id, untimed.ts_ns) == ("7", closed.ts_ns)
    assert reading.duplicates == 2
    assert sorted(reading.bad_lines) == [4, 5, 6, 7, 8, 9, 10]
    assert "not a point in time" in reading.bad_lines[8]
    assert read_buffer(path).events == reading.events


def test_a_sqlite_buffer(tmp_path: Path) -> None:
    path = tmp_path / "buffer.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE event_buffer (id, event_type, payload, timestamp)")
        connection.executemany(
            "INSERT INTO event_buffer VALUES (?, ?, ?, ?)",
            [
                (1, "b", '{"n": 2}', _AT + 0.25),
                ("key", "a", b'{"n": 1}', _AT),
                (3, "c", "{", _AT),
                (4, "d", "{}", None),
            ],
        )
        connection.commit()
    reading = read_buffer(path)
    assert [(event.type, event.ts_ns) for event in reading.events] == [
        ("a", _AT * 10**9),
        ("d", _AT * 10**9),
        ("b", _AT * 10**9 + 250_000_000),
    ]
    assert reading.events[0].event_id == "key"
    assert reading.bad_lines == {3: "its payload is not JSON"}


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorMessage, match="cannot read"):
        read_buffer(tmp_path / "missing")
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (a)")
        connection.commit()
    with pytest.raises(OperatorMessage, match="no readable table event_buffer"):
        read_buffer(path)

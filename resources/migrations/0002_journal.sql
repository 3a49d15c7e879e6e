-- The outbox: every durable event, written in the transaction that changes the state it tells of.
-- The journal gives the numbers itself, each one above the last, so that none is ever used again:
-- AUTOINCREMENT would write one page more with every commit. Pruning keeps the newest row.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    ts_ns INTEGER NOT NULL,
    source TEXT NOT NULL,
    trace TEXT NOT NULL,
    class INTEGER NOT NULL,
    replaces INTEGER,
    payload BLOB NOT NULL
);

-- How far the other side has acknowledged. standalone = 1: whatever is committed is acknowledged.
CREATE TABLE journal_cursor (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL,
    acknowledged_seq INTEGER NOT NULL,
    standalone INTEGER NOT NULL
);
INSERT INTO journal_cursor VALUES (1, 1, 0, 1);

-- Events that the other side refuses for good; requeued_seq is set when one was given another try.
CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    ts_ns INTEGER NOT NULL,
    source TEXT NOT NULL,
    trace TEXT NOT NULL,
    class INTEGER NOT NULL,
    payload BLOB NOT NULL,
    error TEXT NOT NULL,
    parked_ns INTEGER NOT NULL,
    requeued_seq INTEGER
);

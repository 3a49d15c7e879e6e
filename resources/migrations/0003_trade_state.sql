-- The truth about trading. Columns are what is searched for; record is the whole struct as JSON,
-- decimals as text. An order's record contains its intent; intents keep what was first meant.
-- An order waits for the commit of its intent, and a commit costs by the page: so few indexes, and
-- tables that are their own index (WITHOUT ROWID).
-- An intent without a row in orders is an order in state intended.
-- Generation and number are those in our client order ids; 0, 0 for an id that is not of our making.
CREATE TABLE intents (
    generation INTEGER NOT NULL,
    number INTEGER NOT NULL,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    purpose TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (generation, number, client_order_id)
) WITHOUT ROWID;

CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY,
    venue_order_id TEXT,
    symbol TEXT NOT NULL,
    state TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    updated_ns INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX orders_open ON orders (is_open) WHERE is_open = 1;

CREATE TABLE fills (
    execution_id TEXT PRIMARY KEY,
    client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    side TEXT NOT NULL,
    quantity TEXT NOT NULL,
    price TEXT NOT NULL,
    fee TEXT NOT NULL,
    ts_ns INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX fills_by_time ON fills (ts_ns);

-- One row a symbol; a row with quantity 0 keeps what the symbol has realised.
CREATE TABLE positions (
    symbol TEXT PRIMARY KEY,
    quantity TEXT NOT NULL,
    updated_ns INTEGER NOT NULL,
    record BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE trades (
    trade_id TEXT PRIMARY KEY,
    symbol TEXT NOT NULL,
    opened_ns INTEGER NOT NULL,
    closed_ns INTEGER,
    record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX trades_open ON trades (opened_ns) WHERE closed_ns IS NULL;
CREATE INDEX trades_closed ON trades (closed_ns) WHERE closed_ns IS NOT NULL;

CREATE TABLE equity_marks (
    ts_ns INTEGER PRIMARY KEY,
    record BLOB NOT NULL
);

-- The account's totals as the ledger knows them after the last change; one row.
CREATE TABLE account_totals (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    record BLOB NOT NULL
);

CREATE TABLE policy_versions (
    version INTEGER PRIMARY KEY,
    author TEXT NOT NULL,
    ts_ns INTEGER NOT NULL,
    reason TEXT NOT NULL,
    record BLOB NOT NULL
);

CREATE TABLE trips (
    trip_id TEXT PRIMARY KEY,
    ts_ns INTEGER NOT NULL,
    record BLOB NOT NULL
);

CREATE TABLE clearings (
    clearing_id TEXT PRIMARY KEY,
    ts_ns INTEGER NOT NULL,
    record BLOB NOT NULL
);

-- digest covers the row and the digest before it; meta.audit_head names the newest row and digest.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    ts_ns INTEGER NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,
    why TEXT NOT NULL,
    origin TEXT NOT NULL,
    digest TEXT NOT NULL
);

CREATE TABLE alarms (
    alarm_id TEXT PRIMARY KEY,
    code TEXT NOT NULL,
    raised_ns INTEGER NOT NULL,
    cleared_ns INTEGER,
    record BLOB NOT NULL
);
CREATE INDEX alarms_open ON alarms (raised_ns) WHERE cleared_ns IS NULL;

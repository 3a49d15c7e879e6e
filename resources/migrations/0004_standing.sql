-- What an operator said that outlives a restart: held entries, reduce only, START still needed.
CREATE TABLE standing (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

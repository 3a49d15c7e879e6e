-- What was given up at the journal's cap before the other side had it: how many of each type, ever.
CREATE TABLE shed_events (
    type TEXT PRIMARY KEY,
    events INTEGER NOT NULL
) WITHOUT ROWID;

-- Commands that came over the bus and had their effect, each written in the transaction that has it,
-- so that one that is delivered again acts once. A nonce is only there when a signature proved it.
CREATE TABLE commands (
    type TEXT NOT NULL,
    command_id TEXT NOT NULL,
    stream_id TEXT NOT NULL,
    nonce TEXT,
    received_ns INTEGER NOT NULL,
    PRIMARY KEY (type, command_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX commands_by_nonce ON commands (nonce) WHERE nonce IS NOT NULL;
CREATE INDEX commands_by_time ON commands (received_ns);

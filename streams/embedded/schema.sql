-- The journal's file, format 1. Positions, keys and inbox ids only grow; nothing in `event` is ever changed or deleted.
-- Every row that is read carries a checksum (`crc`), so that a damaged byte is an error and never another history.

CREATE TABLE meta (
    name TEXT PRIMARY KEY,               -- 'written_by': the release that made the file; 'owner': who drives it now
    value TEXT NOT NULL
);

CREATE TABLE run (
    key INTEGER PRIMARY KEY,             -- the run's short name in `event`; runs are listed in this order
    run_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    plan_hash TEXT,
    name TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    root_run_id TEXT NOT NULL,
    parent_run_id TEXT,
    error_code TEXT,
    labels TEXT NOT NULL,
    completed_at TEXT,
    crc INTEGER NOT NULL
);
CREATE INDEX run_by_status ON run (status);

CREATE TABLE event (
    position INTEGER PRIMARY KEY,        -- the order of the whole log
    run INTEGER NOT NULL,
    n INTEGER NOT NULL,                  -- 0, 1, 2 … within the run: a lost row leaves a gap
    crc INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX event_of_run ON event (run); -- an index entry ends with the position, so a run reads in order

CREATE TABLE tail (
    run INTEGER PRIMARY KEY,
    records INTEGER NOT NULL             -- how many the run has: a lost last row is noticed too
);
CREATE TRIGGER event_counted AFTER INSERT ON event BEGIN
    INSERT OR REPLACE INTO tail VALUES (new.run, new.n + 1);
END;

CREATE TABLE value (
    digest TEXT PRIMARY KEY,             -- SHA-256 of body; its own checksum
    body BLOB NOT NULL
);

CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice: a reply names it
    created_at TEXT NOT NULL,
    command BLOB NOT NULL,
    crc INTEGER NOT NULL
);

CREATE TABLE reply (
    id INTEGER PRIMARY KEY,              -- of the command it answers
    created_at TEXT NOT NULL,
    answer BLOB NOT NULL,
    crc INTEGER NOT NULL
);

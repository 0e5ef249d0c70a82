-- What an agent must not forget. Bodies are JSON of the core's values (provider/adapters/store/rows.py).

CREATE TABLE position (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    market  TEXT    NOT NULL, -- name of the one market this state belongs to; empty before first contact
    version INTEGER NOT NULL  -- the market's change counter up to which all was taken in
) STRICT;
INSERT INTO position VALUES (1, '', 0);

CREATE TABLE bid (
    id   TEXT PRIMARY KEY, -- owner/dseq/gseq/oseq/provider
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lease (
    id   TEXT PRIMARY KEY, -- owner/dseq/gseq/oseq/provider
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Open orders that were refused for now.
CREATE TABLE waiting_order (
    id   TEXT PRIMARY KEY, -- owner/dseq/gseq/oseq
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Wanted, and not known to be done: performed again after a crash, in this order.
CREATE TABLE effect (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id     TEXT NOT NULL UNIQUE,
    body   TEXT NOT NULL
) STRICT;

-- The book of a market, a table a kind of row (provider/coordinator/rows.py). Instants are UTC milliseconds,
-- amounts whole micro-denom, rates decimal text of micro-denom a block.

CREATE TABLE market (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    name    TEXT    NOT NULL,
    salt    BLOB    NOT NULL, -- hides owners in the public record
    version INTEGER NOT NULL, -- counts the changes that providers are told of
    at_ms   INTEGER NOT NULL  -- of the last change
) STRICT;

CREATE TABLE member (
    role          TEXT    NOT NULL CHECK (role IN ('provider', 'tenant')),
    name          TEXT    NOT NULL,
    enrolled_ms   INTEGER NOT NULL,
    deployments   INTEGER NOT NULL, -- a tenant's last dseq
    epoch         INTEGER NOT NULL, -- a provider's last session
    instance      TEXT    NOT NULL,
    lease_address TEXT    NOT NULL,
    software      TEXT    NOT NULL,
    PRIMARY KEY (role, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE invite (
    key        TEXT    PRIMARY KEY,
    digest     TEXT    NOT NULL UNIQUE, -- sha256 of the secret, hex
    role       TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_key   TEXT    NOT NULL, -- empty while it is good
    used_csr   TEXT    NOT NULL  -- sha256 of the public key that used it, hex
) STRICT, WITHOUT ROWID;

CREATE TABLE deployment (
    owner           TEXT    NOT NULL,
    dseq            INTEGER NOT NULL,
    manifest_hash   TEXT    NOT NULL,
    denom           TEXT    NOT NULL,
    deposit_micros  INTEGER NOT NULL,
    refunded_micros INTEGER NOT NULL,
    created_ms      INTEGER NOT NULL,
    closed_ms       INTEGER,
    PRIMARY KEY (owner, dseq)
) STRICT, WITHOUT ROWID;

CREATE TABLE orders (
    owner          TEXT    NOT NULL,
    dseq           INTEGER NOT NULL,
    gseq           INTEGER NOT NULL,
    oseq           INTEGER NOT NULL,
    group_json     TEXT    NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('open', 'awarded', 'closed')),
    opened_version INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    PRIMARY KEY (owner, dseq, gseq, oseq),
    FOREIGN KEY (owner, dseq) REFERENCES deployment DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

CREATE TABLE bid (
    owner      TEXT    NOT NULL,
    dseq       INTEGER NOT NULL,
    gseq       INTEGER NOT NULL,
    oseq       INTEGER NOT NULL,
    provider   TEXT    NOT NULL,
    rate       TEXT    NOT NULL,
    denom      TEXT    NOT NULL,
    gpus_json  TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('open', 'withdrawn', 'awarded', 'won', 'lost')),
    number     INTEGER NOT NULL, -- counts the order's bids
    placed_ms  INTEGER NOT NULL,
    version    INTEGER NOT NULL, -- 0 before the award
    confirm_ms INTEGER,
    ended      TEXT,             -- why an award came to nothing
    PRIMARY KEY (owner, dseq, gseq, oseq, provider),
    FOREIGN KEY (owner, dseq, gseq, oseq) REFERENCES orders DEFERRABLE INITIALLY DEFERRED
) STRICT, WITHOUT ROWID;

-- One an order: nobody can be given the same order twice.
CREATE TABLE lease (
    owner           TEXT    NOT NULL,
    dseq            INTEGER NOT NULL,
    gseq            INTEGER NOT NULL,
    oseq            INTEGER NOT NULL,
    provider        TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('active', 'closing', 'closed')),
    rate            TEXT    NOT NULL,
    denom           TEXT    NOT NULL,
    confirmed_ms    INTEGER NOT NULL,
    health          TEXT    NOT NULL,
    ports_json      TEXT    NOT NULL,
    detail          TEXT    NOT NULL,
    usage_number    INTEGER NOT NULL,
    running_ms      INTEGER NOT NULL,
    settled_micros  INTEGER NOT NULL,
    usage_final     INTEGER NOT NULL,
    accrues_from_ms INTEGER,
    closed_ms       INTEGER,
    reason          TEXT,
    settle_by_ms    INTEGER,
    version         INTEGER NOT NULL, -- 0 before the end
    PRIMARY KEY (owner, dseq, gseq, oseq),
    FOREIGN KEY (owner, dseq, gseq, oseq, provider) REFERENCES bid DEFERRABLE INITIALLY DEFERRED,
    CHECK ((state = 'active') = (reason IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    name           TEXT    NOT NULL,
    denom          TEXT    NOT NULL,
    balance_micros INTEGER NOT NULL CHECK (balance_micros >= 0),
    PRIMARY KEY (name, denom)
) STRICT, WITHOUT ROWID;

CREATE TABLE transfer (
    subject       TEXT    NOT NULL,
    number        INTEGER NOT NULL,
    source        TEXT,             -- NULL: issued
    target        TEXT    NOT NULL,
    denom         TEXT    NOT NULL,
    amount_micros INTEGER NOT NULL CHECK (amount_micros > 0),
    at_ms         INTEGER NOT NULL,
    PRIMARY KEY (subject, number)
) STRICT, WITHOUT ROWID;

-- hash = sha256(the previous entry's hash, at first 32 zero bytes, followed by body_json)
CREATE TABLE record (
    number    INTEGER PRIMARY KEY,
    at_ms     INTEGER NOT NULL,
    body_json TEXT    NOT NULL,
    hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TRIGGER record_is_never_changed BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'the record is never changed'); END;
CREATE TRIGGER record_is_never_cut BEFORE DELETE ON record
BEGIN SELECT RAISE(ABORT, 'the record is never cut'); END;
CREATE TRIGGER transfer_is_never_changed BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'a transfer is never changed'); END;
CREATE TRIGGER transfer_is_never_undone BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'a transfer is never undone'); END;

-- The inbox: what was carried out for whom under which idempotency key.
CREATE TABLE answer (
    role        TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    digest      TEXT    NOT NULL, -- sha256 of what was asked, hex
    answer_json TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL,
    PRIMARY KEY (role, name, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX answer_by_age ON answer (at_ms);

-- A provider may be in several markets. The one that it joined first is '' in every id; ids of the others' bids,
-- leases and orders say their market after the owner's name.

CREATE TABLE market (
    id      TEXT PRIMARY KEY, -- empty for the first one
    name    TEXT    NOT NULL, -- as its coordinator says; empty before the first contact
    version INTEGER NOT NULL  -- its change counter up to which all was taken in
) STRICT, WITHOUT ROWID;
INSERT INTO market SELECT '', market, version FROM position WHERE market <> '' OR version > 0;

ALTER TABLE position DROP COLUMN market;
ALTER TABLE position DROP COLUMN version;

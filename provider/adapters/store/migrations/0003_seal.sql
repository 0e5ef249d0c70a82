-- Manifests hold tenants' secrets: leases' bodies that have one, and the effects that carry one, are sealed
-- (provider/adapters/store/seal.py). SQL cannot look into them any more: what changes their shape is done in Python.

CREATE TABLE seal (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    proof       TEXT    NOT NULL, -- a known text under the key, by which a wrong key is told
    is_scrubbed INTEGER NOT NULL CHECK (is_scrubbed IN (0, 1)) -- whether no clear text of before is left in the file
) STRICT;

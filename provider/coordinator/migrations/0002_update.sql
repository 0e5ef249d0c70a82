-- A deployment's manifest can be changed. From here on a lease's version is that of its end or of its last update.

ALTER TABLE deployment ADD COLUMN updates INTEGER NOT NULL DEFAULT 0; -- so far

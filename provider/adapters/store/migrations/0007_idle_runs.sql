-- The operator's idle job, on each GPU that has had it (domain/idle.py, as JSON): what may be on the engine.

CREATE TABLE idle_run (
    id   TEXT PRIMARY KEY, -- the GPU's UUID
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

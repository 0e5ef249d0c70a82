-- What is remembered of GPUs: what holds against each, its faults, its history (domain/gpu_health.py, as JSON).

CREATE TABLE gpu_record (
    id   TEXT PRIMARY KEY, -- the GPU's UUID
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What prices win, by kind of card: what was learned from bids that were won and lost.

CREATE TABLE win_curve (
    id   TEXT PRIMARY KEY, -- such as h100, or a100/mig-1g.10gb
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

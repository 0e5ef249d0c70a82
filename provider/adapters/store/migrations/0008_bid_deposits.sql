-- What a market holds of the provider's account for each bid: counts before its link is up again.

ALTER TABLE market ADD COLUMN bid_deposit INTEGER NOT NULL DEFAULT 0; -- micro-denom, as it said last

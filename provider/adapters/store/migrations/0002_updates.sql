-- A lease's manifest may change: what runs, and what ran before, are each one value in its body.

ALTER TABLE position ADD COLUMN is_draining INTEGER NOT NULL DEFAULT 0 CHECK (is_draining IN (0, 1));

UPDATE lease
SET body = json_remove(
    json_set(
        body,
        '$.current',
        json_object(
            'manifest', json(json_extract(body, '$.manifest')),
            'manifest_hash', json_extract(body, '$.manifest_hash'),
            'ports', json(coalesce(json_extract(body, '$.ports'), '[]'))
        )
    ),
    '$.manifest',
    '$.ports'
)
WHERE json_extract(body, '$.manifest') IS NOT NULL;

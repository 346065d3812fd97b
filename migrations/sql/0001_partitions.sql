-- Entries by month. An entry's id is a UUID version 7, whose first 48 bits are milliseconds: a month is a range of ids, in UTC.

CREATE FUNCTION first_id(p_moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM p_moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes the partitions of p_months months from the one of p_from on, where they don't exist yet. Returns how many it made.
CREATE FUNCTION make_entry_partitions(p_from timestamptz, p_months int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_month timestamp := date_trunc('month', p_from AT TIME ZONE 'UTC');
    v_name text;
    made int := 0;
BEGIN
    FOR i IN 0 .. p_months - 1 LOOP
        v_name := 'entries_' || to_char(v_month, 'YYYY_MM');
        IF to_regclass(v_name) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF entries FOR VALUES FROM (%L) TO (%L)', v_name,
                first_id(v_month AT TIME ZONE 'UTC'), first_id((v_month + interval '1 month') AT TIME ZONE 'UTC')
            );
            made := made + 1;
        END IF;
        v_month := v_month + interval '1 month';
    END LOOP;
    RETURN made;
END
$$;

-- For ids of processes whose clocks are far off: a settlement must never fail for want of a partition.
CREATE TABLE entries_default PARTITION OF entries DEFAULT;
SELECT make_entry_partitions(now() - interval '1 month', 5);

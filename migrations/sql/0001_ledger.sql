-- The hot path of the ledger: one function call settles and holds for a whole batch, in one transaction.
--
-- Lock order, here and everywhere: account counters in id order first, then whatever belongs to those accounts. Key
-- counters and holds are only ever written under their account's lock, so they need no order of their own.

-- Deletes the holds that are named, moves the counters by what was really deleted, writes one entry for each.
-- A hold that is gone already changes nothing: settling twice is settling once. Caller holds the account locks.
CREATE FUNCTION settle_holds(
    p_over boolean, p_accounts bigint[], p_ids uuid[], p_costs bigint[], p_statuses text[], p_channels bigint[],
    p_usages text[], p_estimated boolean[], p_latencies int[], p_first_bytes int[], p_attempts smallint[], p_errors text[]
) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    settled int;
    v_over uuid[];
    over record;
    extra bigint;
BEGIN
    -- The caller knows whether a cost above its hold is among them (p_over): it is rare, and looking costs a join a batch.
    IF p_over THEN
        SELECT array_agg(h.id) INTO v_over
        FROM unnest(p_accounts, p_ids, p_costs) AS g(account_id, id, cost)
        JOIN holds h ON h.account_id = g.account_id AND h.id = g.id
        WHERE g.cost > h.amount;
    END IF;

    WITH given AS (
        SELECT * FROM unnest(
            p_accounts, p_ids, p_costs, p_statuses, p_channels, p_usages, p_estimated, p_latencies, p_first_bytes,
            p_attempts, p_errors
        ) AS g(account_id, id, cost, status, channel_id, usage, estimated, latency_ms, first_byte_ms, attempts, error)
    ), gone AS (
        DELETE FROM holds h USING given g
        WHERE h.account_id = g.account_id AND h.id = g.id
        RETURNING h.*, LEAST(g.cost, h.amount) AS charge, g.cost, g.status, g.channel_id, g.usage, g.estimated,
            g.latency_ms, g.first_byte_ms, g.attempts, g.error
    ), moved_accounts AS (
        UPDATE account_balances b
        SET held = b.held - s.held, balance = b.balance + s.held - s.charged, charged = b.charged + s.charged
        FROM (
            SELECT account_id, sum(amount)::bigint AS held, sum(charge)::bigint AS charged FROM gone GROUP BY 1
        ) s
        WHERE b.account_id = s.account_id
    ), moved_keys AS (
        UPDATE key_balances b
        SET held = b.held - s.held, balance = b.balance + s.held - s.charged, charged = b.charged + s.charged
        FROM (
            SELECT account_id, key_id, sum(amount)::bigint AS held, sum(charge)::bigint AS charged
            FROM gone GROUP BY 1, 2
        ) s
        WHERE b.account_id = s.account_id AND b.key_id = s.key_id
    )
    INSERT INTO entries (
        account_id, id, key_id, request_id, created_at, model, channel_id, format, status, held, charged, uncollected,
        usage, price_id, ratio_ppm, estimated, stream, latency_ms, first_byte_ms, attempts, error
    )
    SELECT account_id, id, key_id, request_id, created_at, model, channel_id, format, status, amount, charge,
        cost - charge, usage::jsonb, price_id, ratio_ppm, estimated, stream, latency_ms, first_byte_ms, attempts, error
    FROM gone;
    GET DIAGNOSTICS settled = ROW_COUNT;

    -- What a hold didn't cover is taken from what the account and the key have left now that this batch has given back
    -- what it didn't use; never from what they don't have.
    IF v_over IS NOT NULL THEN FOR over IN
        SELECT e.account_id, e.key_id, e.id, e.uncollected
        FROM entries e
        WHERE e.account_id = ANY (p_accounts) AND e.id = ANY (v_over) AND e.uncollected > 0
        ORDER BY e.account_id, e.created_at, e.id
    LOOP
        SELECT GREATEST(0, LEAST(over.uncollected, a.balance, k.balance)) INTO extra
        FROM account_balances a
        JOIN key_balances k ON k.account_id = a.account_id AND k.key_id = over.key_id
        WHERE a.account_id = over.account_id;
        CONTINUE WHEN COALESCE(extra, 0) = 0;
        UPDATE account_balances b SET balance = b.balance - extra, charged = b.charged + extra
        WHERE b.account_id = over.account_id;
        UPDATE key_balances b SET balance = b.balance - extra, charged = b.charged + extra
        WHERE b.account_id = over.account_id AND b.key_id = over.key_id;
        UPDATE entries e SET charged = e.charged + extra, uncollected = e.uncollected - extra
        WHERE e.account_id = over.account_id AND e.id = over.id;
    END LOOP; END IF;
    RETURN settled;
END
$$;

-- Grants holds. Where an account or key can't cover all that its requests want, its requests are granted one by one in
-- arrival order: the whole amount, else what is left if that is at least the minimum, else nothing. The others of the
-- batch are granted as a set, so a key that is empty slows no other. Caller holds the account locks.
-- Returns NULL when everything was granted as wanted, else an amount a request: -1 the account is short, -2 the key is,
-- -3 there is no such account or key.
CREATE FUNCTION grant_holds(
    p_owner uuid, p_accounts bigint[], p_keys bigint[], p_ids uuid[], p_requests uuid[], p_wants bigint[],
    p_minima bigint[], p_orphans bigint[], p_inputs int[], p_models text[], p_formats text[], p_streams boolean[],
    p_prices bigint[], p_ratios bigint[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    v_short bigint[];
    v_granted bigint[];
    v_account bigint;
    v_key bigint;
    v_room bigint;
BEGIN
    SELECT array_agg(DISTINCT s.account_id) INTO v_short
    FROM (
        SELECT w.account_id, w.key_id, sum(w.want) AS key_sum,
            sum(sum(w.want)) OVER (PARTITION BY w.account_id) AS account_sum
        FROM unnest(p_accounts, p_keys, p_wants) AS w(account_id, key_id, want)
        GROUP BY 1, 2
    ) s
    LEFT JOIN account_balances a ON a.account_id = s.account_id
    LEFT JOIN key_balances k ON k.account_id = s.account_id AND k.key_id = s.key_id
    WHERE a.account_id IS NULL OR k.key_id IS NULL OR a.balance < s.account_sum OR k.balance < s.key_sum;

    v_granted := p_wants;
    IF v_short IS NOT NULL THEN
        FOR i IN 1 .. cardinality(p_ids) LOOP
            CONTINUE WHEN NOT p_accounts[i] = ANY (v_short);
            SELECT a.balance, k.balance INTO v_account, v_key
            FROM account_balances a
            JOIN key_balances k ON k.account_id = a.account_id AND k.key_id = p_keys[i]
            WHERE a.account_id = p_accounts[i];
            IF NOT FOUND THEN
                v_granted[i] := -3;
                CONTINUE;
            END IF;
            -- LEAST skips NULL: a key without a quota has no bound of its own. One below zero has no room, as one at zero.
            v_room := GREATEST(0, LEAST(v_account, v_key));
            IF v_room < p_minima[i] THEN
                v_granted[i] := CASE WHEN v_account < p_minima[i] THEN -1 ELSE -2 END;
                CONTINUE;
            END IF;
            v_granted[i] := LEAST(v_room, p_wants[i]);
            UPDATE account_balances b SET balance = b.balance - v_granted[i], held = b.held + v_granted[i]
            WHERE b.account_id = p_accounts[i];
            UPDATE key_balances b SET balance = b.balance - v_granted[i], held = b.held + v_granted[i]
            WHERE b.account_id = p_accounts[i] AND b.key_id = p_keys[i];
        END LOOP;
    END IF;

    WITH granted AS (
        SELECT account_id, key_id, amount
        FROM unnest(p_accounts, p_keys, v_granted) AS g(account_id, key_id, amount)
        WHERE v_short IS NULL OR NOT account_id = ANY (v_short)
    ), moved_accounts AS (
        UPDATE account_balances b SET balance = b.balance - s.amount, held = b.held + s.amount
        FROM (SELECT account_id, sum(amount)::bigint AS amount FROM granted GROUP BY 1) s
        WHERE b.account_id = s.account_id
    ), moved_keys AS (
        UPDATE key_balances b SET balance = b.balance - s.amount, held = b.held + s.amount
        FROM (SELECT account_id, key_id, sum(amount)::bigint AS amount FROM granted GROUP BY 1, 2) s
        WHERE b.account_id = s.account_id AND b.key_id = s.key_id
    )
    INSERT INTO holds (
        account_id, id, key_id, request_id, owner, amount, orphan_charge, input_tokens, model, format, stream, price_id,
        ratio_ppm
    )
    SELECT account_id, id, key_id, request_id, p_owner, amount, orphan_charge, input_tokens, model, format, stream,
        price_id, ratio_ppm
    FROM unnest(
        p_accounts, p_ids, p_keys, p_requests, v_granted, p_orphans, p_inputs, p_models, p_formats, p_streams, p_prices,
        p_ratios
    ) AS g(
        account_id, id, key_id, request_id, amount, orphan_charge, input_tokens, model, format, stream, price_id,
        ratio_ppm
    )
    WHERE amount >= 0;

    RETURN CASE WHEN v_short IS NULL THEN NULL ELSE v_granted END;
END
$$;

-- What the gateway calls: settles what is done, so that its money is free, then holds for what is new.
CREATE FUNCTION ledger_batch(
    p_locks bigint[],
    s_over boolean, s_accounts bigint[], s_ids uuid[], s_costs bigint[], s_statuses text[], s_channels bigint[], s_usages text[],
    s_estimated boolean[], s_latencies int[], s_first_bytes int[], s_attempts smallint[], s_errors text[],
    h_owner uuid, h_accounts bigint[], h_keys bigint[], h_ids uuid[], h_requests uuid[], h_wants bigint[],
    h_minima bigint[], h_orphans bigint[], h_inputs int[], h_models text[], h_formats text[], h_streams boolean[],
    h_prices bigint[], h_ratios bigint[],
    OUT settled int, OUT granted bigint[]
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM account_balances WHERE account_id = ANY (p_locks) ORDER BY account_id FOR NO KEY UPDATE;
    settled := 0;
    IF cardinality(s_ids) > 0 THEN
        settled := settle_holds(s_over, s_accounts, s_ids, s_costs, s_statuses, s_channels, s_usages, s_estimated, s_latencies,
            s_first_bytes, s_attempts, s_errors);
    END IF;
    IF cardinality(h_ids) > 0 THEN
        granted := grant_holds(h_owner, h_accounts, h_keys, h_ids, h_requests, h_wants, h_minima, h_orphans, h_inputs,
            h_models, h_formats, h_streams, h_prices, h_ratios);
    END IF;
END
$$;

-- Ends up to p_limit holds of one owner that were made before p_before, except those it says it still knows: a dead
-- process's holds as orphans (their input is charged), a live one's strays as released.
CREATE FUNCTION resolve_holds(
    p_owner uuid, p_before timestamptz, p_known uuid[], p_status text, p_error text, p_limit int
) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_accounts bigint[];
    v_ids uuid[];
    v_costs bigint[];
    v_usages text[];
    n int;
BEGIN
    SELECT array_agg(account_id), array_agg(id), array_agg(CASE p_status WHEN 'orphaned' THEN orphan_charge ELSE 0 END),
        array_agg(CASE p_status WHEN 'orphaned'
            THEN jsonb_build_object('input_tokens', input_tokens, 'output_tokens', 0) ELSE '{}' END::text)
    INTO v_accounts, v_ids, v_costs, v_usages
    FROM (
        SELECT * FROM holds
        WHERE owner = p_owner AND created_at < p_before AND NOT id = ANY (p_known)
        ORDER BY account_id, id LIMIT p_limit
    ) h;
    n := cardinality(v_ids);
    IF n IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM 1 FROM account_balances WHERE account_id = ANY (v_accounts) ORDER BY account_id FOR NO KEY UPDATE;
    RETURN settle_holds(
        false, v_accounts, v_ids, v_costs, array_fill(p_status, ARRAY[n]), array_fill(NULL::bigint, ARRAY[n]), v_usages,
        array_fill(p_status = 'orphaned', ARRAY[n]), array_fill(NULL::int, ARRAY[n]), array_fill(NULL::int, ARRAY[n]),
        array_fill(0::smallint, ARRAY[n]), array_fill(p_error, ARRAY[n])
    );
END
$$;

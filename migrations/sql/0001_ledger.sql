-- The hot path of the ledger: one function call settles and holds for a whole batch, in one transaction.
--
-- Lock order, here and everywhere: account counters in id order first, then whatever belongs to those accounts. Key
-- counters and holds are only ever written under their account's lock, so they need no order of their own.

-- Deletes the holds that are named, moves the counters by what was really deleted, writes one entry for each.
-- A hold that is gone already changes nothing: settling twice is settling once. Caller holds the account locks.
-- A charge of p_charges is in nano-dollars; p_prices NULL: the price that the hold was made with; p_costs: the vendor's own.
-- p_models and p_groups: the model that answered in the place of the hold's, and its group's ratio; NULL, whole or in part:
-- those of the hold.
CREATE FUNCTION settle_holds(
    p_over boolean, p_limited boolean, p_accounts bigint[], p_ids uuid[], p_charges bigint[], p_statuses text[],
    p_channels bigint[], p_prices bigint[], p_costs bigint[], p_usages text[], p_estimated boolean[], p_latencies int[],
    p_first_bytes int[], p_attempts smallint[], p_errors text[], p_models text[] DEFAULT NULL, p_groups bigint[] DEFAULT NULL
) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    settled int;
    v_over uuid[];
    over record;
    extra bigint;
BEGIN
    -- The caller knows whether a charge above its hold is among them (p_over), or a hold under limits (p_limited): looking
    -- costs a join a batch.
    IF p_over THEN
        SELECT array_agg(h.id) INTO v_over
        FROM unnest(p_accounts, p_ids, p_charges) AS g(account_id, id, due)
        JOIN holds h ON h.account_id = g.account_id AND h.id = g.id
        WHERE g.due > h.amount;
    END IF;
    IF p_limited THEN
        PERFORM settle_limits(p_accounts, p_ids, p_usages);
    END IF;

    WITH given AS (
        SELECT * FROM unnest(
            p_accounts, p_ids, p_charges, p_statuses, p_channels, p_prices, p_costs, p_usages, p_estimated, p_latencies,
            p_first_bytes, p_attempts, p_errors, p_models, p_groups
        ) AS g(
            account_id, id, due, status, channel_id, applied_id, cost, usage, estimated, latency_ms, first_byte_ms, attempts,
            error, other_model, other_ppm
        )
    ), gone AS (
        DELETE FROM holds h USING given g
        WHERE h.account_id = g.account_id AND h.id = g.id
        RETURNING h.*, LEAST(g.due, h.amount) AS charge, g.due, g.status, g.channel_id, g.applied_id, g.cost, g.usage,
            g.estimated, g.latency_ms, g.first_byte_ms, g.attempts, g.error, g.other_model, g.other_ppm
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
        usage, price_id, ratio_ppm, group_ppm, cost, estimated, stream, latency_ms, first_byte_ms, attempts, error
    )
    SELECT account_id, id, key_id, request_id, created_at, COALESCE(other_model, model), channel_id, format, status, amount,
        charge, due - charge, usage::jsonb, COALESCE(applied_id, price_id), ratio_ppm, COALESCE(other_ppm, group_ppm), cost,
        estimated, stream, latency_ms, first_byte_ms, attempts, error
    FROM gone;
    GET DIAGNOSTICS settled = ROW_COUNT;

    -- What a hold didn't cover is taken from what the account, the key and their budgets have left now that this batch has
    -- given back what it didn't use; never from what they don't have.
    IF v_over IS NOT NULL THEN FOR over IN
        SELECT e.account_id, e.key_id, e.id, e.uncollected
        FROM entries e
        WHERE e.account_id = ANY (p_accounts) AND e.id = ANY (v_over) AND e.uncollected > 0
        ORDER BY e.account_id, e.created_at, e.id
    LOOP
        SELECT GREATEST(0, LEAST(
            over.uncollected, a.balance, k.balance, budget_left(al, a.charged) - a.held, budget_left(kl, k.charged) - k.held
        )) INTO extra
        FROM account_balances a
        JOIN key_balances k ON k.account_id = a.account_id AND k.key_id = over.key_id
        LEFT JOIN limits al ON al.account_id = a.account_id AND al.key_id = 0
        LEFT JOIN limits kl ON kl.account_id = a.account_id AND kl.key_id = k.key_id
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

-- Grants holds one by one, in arrival order, to the accounts of p_short: those that can't cover all that is asked of them, and
-- those with limits. An amount a request, or -1: the account can't pay even if everything held comes back, -2: nor can the
-- key, -3: no such account or key, -4: the money is there, but other requests hold it, -5: a limit or a
-- budget refuses, -6: too many are open at the moment.
--
-- Limits in shadow refuse nothing. What one of them would have refused it doesn't count either, or it would come to refuse
-- all that is asked above it, and not just what is too much: `uncounted` says for which (1 the account's, 2 the key's).
--
-- A request gets what it wants. One whose wish is beyond what there is in all gets what is left, or a fair part of it where
-- more of the account's requests are in the batch, and never less than its minimum. One whose wish only others' holds stand
-- in the way of is told to wait, for they come back; once it is out of patience it takes what there is.
CREATE FUNCTION grant_in_turn(
    p_short bigint[], p_accounts bigint[], p_keys bigint[], p_wants bigint[], p_minima bigint[], p_patient boolean[],
    p_tokens int[], INOUT p_granted bigint[], OUT standings text[], OUT uncounted smallint[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    ask record;
    a account_balances;
    k key_balances;
    al limits;
    kl limits;
    v_account_moved boolean := false;
    v_key_moved boolean := false;
    v_limits_read boolean;
    v_account_open int;
    v_key_open int;
    v_account_new int;
    v_key_new jsonb := '{}';
    v_account_budget bigint;
    v_key_budget bigint;
    v_room bigint;
    v_funds bigint;
    v_amount bigint;
    v_why jsonb;
    v_account_why jsonb;
    v_key_why jsonb;
BEGIN
    -- Whole from the start: an array that begins at the first index that was written to would come out shifted.
    standings := array_fill(NULL::text, ARRAY[cardinality(p_accounts)]);
    FOR ask IN
        SELECT w.*, LEAST(4, count(*) OVER (PARTITION BY w.account_id ORDER BY w.i DESC)) AS share
        FROM unnest(p_accounts, p_keys, p_wants, p_minima, p_patient, p_tokens) WITH ORDINALITY
            AS w(account_id, key_id, want, minimum, patient, tokens, i)
        WHERE w.account_id = ANY (p_short)
        ORDER BY w.account_id, w.i
    LOOP
        IF k.key_id IS DISTINCT FROM ask.key_id OR k.account_id IS DISTINCT FROM ask.account_id THEN
            IF v_key_moved THEN
                PERFORM save_key(k, kl);
            END IF;
            SELECT * INTO k FROM key_balances b WHERE b.account_id = ask.account_id AND b.key_id = ask.key_id;
            kl := NULL;
            v_key_moved := false;
            v_limits_read := false;
        END IF;
        IF a.account_id IS DISTINCT FROM ask.account_id THEN
            IF v_account_moved THEN
                PERFORM save_account(a, al);
            END IF;
            SELECT * INTO a FROM account_balances b WHERE b.account_id = ask.account_id;
            al := NULL;
            v_account_moved := false;
            v_account_new := 0;
        END IF;
        IF a.account_id IS NULL OR k.key_id IS NULL THEN
            p_granted[ask.i] := -3;
            CONTINUE;
        END IF;
        IF ask.tokens IS NOT NULL AND NOT v_limits_read THEN
            v_limits_read := true;
            SELECT * INTO kl FROM limits l WHERE l.account_id = ask.account_id AND l.key_id = ask.key_id;
            IF FOUND THEN
                kl := roll_limits(kl, v_now, k.charged);
                SELECT count(*) + COALESCE((v_key_new->>ask.key_id::text)::int, 0) INTO v_key_open FROM holds h
                WHERE kl.concurrency IS NOT NULL AND h.account_id = ask.account_id AND h.key_id = ask.key_id
                    AND NOT (kl.shadow AND COALESCE(h.uncounted, 0) & 2 > 0);
            END IF;
            IF al.account_id IS NULL THEN
                SELECT * INTO al FROM limits l WHERE l.account_id = ask.account_id AND l.key_id = 0;
                IF FOUND THEN
                    al := roll_limits(al, v_now, a.charged);
                    SELECT count(*) + v_account_new INTO v_account_open FROM holds h
                    WHERE al.concurrency IS NOT NULL AND h.account_id = ask.account_id
                        AND NOT (al.shadow AND COALESCE(h.uncounted, 0) & 1 > 0);
                END IF;
            END IF;
        END IF;

        -- LEAST skips NULL: a key without a quota, or no budget, has no bound of its own.
        v_account_budget := budget_left(al, a.charged);
        v_key_budget := budget_left(kl, k.charged);
        v_room := GREATEST(0, LEAST(a.balance, k.balance, v_account_budget - a.held, v_key_budget - k.held));
        v_funds := LEAST(a.balance + a.held, k.balance + k.held, v_account_budget, v_key_budget);
        v_why := NULL;
        v_account_why := NULL;
        v_key_why := NULL;
        IF GREATEST(0, LEAST(a.balance + a.held, k.balance + k.held)) < ask.minimum THEN
            p_granted[ask.i] := CASE WHEN a.balance + a.held < ask.minimum THEN -1 ELSE -2 END;
            CONTINUE;
        END IF;
        IF ask.tokens IS NOT NULL THEN
            IF kl.account_id IS NOT NULL THEN
                v_key_why := find_refusal(kl, 'key', v_now, ask.tokens, v_key_open, k.charged, ask.minimum);
            END IF;
            IF al.account_id IS NOT NULL THEN
                v_account_why := find_refusal(al, 'account', v_now, ask.tokens, v_account_open, a.charged, ask.minimum);
            END IF;
            v_why := COALESCE(CASE WHEN NOT kl.shadow THEN v_key_why END, CASE WHEN NOT al.shadow THEN v_account_why END);
        END IF;
        IF v_why IS NOT NULL THEN
            v_amount := CASE WHEN v_why->>'limit' = 'concurrency' THEN -6 ELSE -5 END;
        ELSIF ask.patient IS NULL AND ask.want > 0 THEN
            v_amount := -4;
        ELSIF ask.want <= v_room THEN
            v_amount := ask.want;
        ELSIF v_room < ask.minimum OR (ask.patient AND ask.want <= v_funds) THEN
            v_amount := -4;
        ELSE
            v_amount := LEAST(ask.want, GREATEST(ask.minimum, v_room / ask.share));
        END IF;

        p_granted[ask.i] := v_amount;
        IF v_amount >= 0 THEN
            a.balance := a.balance - v_amount;
            a.held := a.held + v_amount;
            k.balance := k.balance - v_amount;
            k.held := k.held + v_amount;
            v_account_moved := true;
            v_key_moved := true;
            -- Whatever still speaks against it is in shadow.
            IF v_account_why IS NULL THEN
                v_account_new := v_account_new + 1;
                v_account_open := v_account_open + 1;
                IF ask.tokens IS NOT NULL THEN
                    al := count_request(al, ask.tokens);
                END IF;
            END IF;
            IF v_key_why IS NULL THEN
                v_key_open := v_key_open + 1;
                v_key_new := jsonb_set(
                    v_key_new, ARRAY[ask.key_id::text], to_jsonb(COALESCE((v_key_new->>ask.key_id::text)::int, 0) + 1));
                IF ask.tokens IS NOT NULL THEN
                    kl := count_request(kl, ask.tokens);
                END IF;
            END IF;
            IF v_account_why IS NOT NULL OR v_key_why IS NOT NULL THEN
                uncounted := COALESCE(uncounted, array_fill(0::smallint, ARRAY[cardinality(p_accounts)]));
                uncounted[ask.i] := (v_account_why IS NOT NULL)::int + 2 * (v_key_why IS NOT NULL)::int;
                v_why := jsonb_build_object('shadow', array_remove(ARRAY[v_key_why, v_account_why], NULL));
            END IF;
        END IF;
        IF ask.tokens IS NOT NULL THEN
            standings[ask.i] := COALESCE(v_why, '{}') || jsonb_build_object('key', limits_standing(kl), 'account', limits_standing(al));
        END IF;
    END LOOP;
    IF v_key_moved THEN
        PERFORM save_key(k, kl);
    END IF;
    IF v_account_moved THEN
        PERFORM save_account(a, al);
    END IF;
END
$$;

-- Under the account's lock the rows are as they were read, so that whole values can be written.
CREATE FUNCTION save_account(a account_balances, l limits) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE account_balances b SET balance = a.balance, held = a.held WHERE b.account_id = a.account_id;
    IF l.account_id IS NOT NULL THEN
        PERFORM save_limits(l);
    END IF;
END
$$;

CREATE FUNCTION save_key(k key_balances, l limits) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE key_balances b SET balance = k.balance, held = k.held WHERE b.account_id = k.account_id AND b.key_id = k.key_id;
    IF l.account_id IS NOT NULL THEN
        PERFORM save_limits(l);
    END IF;
END
$$;

-- Grants holds: as a set to the accounts that can cover all that their requests want and have no limits, so that a key that is
-- empty slows no other; to the rest in turn. Caller holds the account locks. `granted` NULL: everything as wanted.
-- `standings` says, for requests under limits, what refused them, or in shadow would have, and what is left.
CREATE FUNCTION grant_holds(
    p_limited boolean, p_owner uuid, p_accounts bigint[], p_keys bigint[], p_ids uuid[], p_requests uuid[], p_wants bigint[],
    p_minima bigint[], p_orphans bigint[], p_inputs int[], p_models text[], p_formats text[], p_streams boolean[],
    p_prices bigint[], p_ratios bigint[], p_groups bigint[], p_tokens int[], p_patient boolean[],
    OUT granted bigint[], OUT standings text[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_short bigint[];
    v_uncounted smallint[];
BEGIN
    granted := p_wants;
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
    IF p_limited THEN
        v_short := v_short || ARRAY(
            SELECT DISTINCT w.account_id FROM unnest(p_accounts, p_tokens) AS w(account_id, tokens) WHERE w.tokens IS NOT NULL
        );
    END IF;
    IF v_short IS NOT NULL THEN
        SELECT t.p_granted, t.standings, t.uncounted INTO granted, standings, v_uncounted
        FROM grant_in_turn(v_short, p_accounts, p_keys, p_wants, p_minima, p_patient, p_tokens, granted) AS t;
    END IF;

    WITH wanted AS (
        SELECT account_id, key_id, amount
        FROM unnest(p_accounts, p_keys, granted) AS g(account_id, key_id, amount)
        WHERE v_short IS NULL OR NOT account_id = ANY (v_short)
    ), moved_accounts AS (
        UPDATE account_balances b SET balance = b.balance - s.amount, held = b.held + s.amount
        FROM (SELECT account_id, sum(amount)::bigint AS amount FROM wanted GROUP BY 1) s
        WHERE b.account_id = s.account_id
    ), moved_keys AS (
        UPDATE key_balances b SET balance = b.balance - s.amount, held = b.held + s.amount
        FROM (SELECT account_id, key_id, sum(amount)::bigint AS amount FROM wanted GROUP BY 1, 2) s
        WHERE b.account_id = s.account_id AND b.key_id = s.key_id
    )
    INSERT INTO holds (
        account_id, id, key_id, request_id, owner, amount, orphan_charge, input_tokens, model, format, stream, price_id,
        ratio_ppm, group_ppm, tokens, uncounted
    )
    SELECT account_id, id, key_id, request_id, p_owner, amount, orphan_charge, input_tokens, model, format, stream,
        price_id, ratio_ppm, group_ppm, tokens, uncounted
    FROM unnest(
        p_accounts, p_ids, p_keys, p_requests, granted, p_orphans, p_inputs, p_models, p_formats, p_streams, p_prices,
        p_ratios, p_groups, p_tokens, v_uncounted
    ) AS g(
        account_id, id, key_id, request_id, amount, orphan_charge, input_tokens, model, format, stream, price_id,
        ratio_ppm, group_ppm, tokens, uncounted
    )
    WHERE amount >= 0;

    IF v_short IS NULL THEN
        granted := NULL;
    END IF;
END
$$;

-- What the gateway calls: settles what is done, so that its money is free, then holds for what is new.
CREATE FUNCTION ledger_batch(
    p_locks bigint[],
    s_over boolean, s_limited boolean, s_accounts bigint[], s_ids uuid[], s_charges bigint[], s_statuses text[],
    s_channels bigint[], s_prices bigint[], s_costs bigint[], s_usages text[], s_estimated boolean[], s_latencies int[],
    s_first_bytes int[], s_attempts smallint[], s_errors text[], s_models text[], s_groups bigint[],
    h_limited boolean, h_owner uuid, h_accounts bigint[], h_keys bigint[], h_ids uuid[], h_requests uuid[], h_wants bigint[],
    h_minima bigint[], h_orphans bigint[], h_inputs int[], h_models text[], h_formats text[], h_streams boolean[],
    h_prices bigint[], h_ratios bigint[], h_groups bigint[], h_tokens int[], h_patient boolean[],
    OUT settled int, OUT granted bigint[], OUT standings text[]
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM account_balances WHERE account_id = ANY (p_locks) ORDER BY account_id FOR NO KEY UPDATE;
    settled := 0;
    IF cardinality(s_ids) > 0 THEN
        settled := settle_holds(s_over, s_limited, s_accounts, s_ids, s_charges, s_statuses, s_channels, s_prices, s_costs,
            s_usages, s_estimated, s_latencies, s_first_bytes, s_attempts, s_errors, s_models, s_groups);
    END IF;
    IF cardinality(h_ids) > 0 THEN
        SELECT t.granted, t.standings INTO granted, standings
        FROM grant_holds(h_limited, h_owner, h_accounts, h_keys, h_ids, h_requests, h_wants, h_minima, h_orphans, h_inputs,
            h_models, h_formats, h_streams, h_prices, h_ratios, h_groups, h_tokens, h_patient) AS t;
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
    v_charges bigint[];
    v_usages text[];
    n int;
BEGIN
    SELECT array_agg(account_id), array_agg(id), array_agg(CASE p_status WHEN 'orphaned' THEN orphan_charge ELSE 0 END),
        array_agg(CASE p_status WHEN 'orphaned'
            THEN jsonb_build_object('input_tokens', input_tokens, 'output_tokens', 0) ELSE '{}' END::text)
    INTO v_accounts, v_ids, v_charges, v_usages
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
        false, true, v_accounts, v_ids, v_charges, array_fill(p_status, ARRAY[n]), array_fill(NULL::bigint, ARRAY[n]),
        array_fill(NULL::bigint, ARRAY[n]), array_fill(NULL::bigint, ARRAY[n]), v_usages,
        array_fill(p_status = 'orphaned', ARRAY[n]), array_fill(NULL::int, ARRAY[n]), array_fill(NULL::int, ARRAY[n]),
        array_fill(0::smallint, ARRAY[n]), array_fill(p_error, ARRAY[n])
    );
END
$$;

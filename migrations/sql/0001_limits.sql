-- Limits on requests, tokens, concurrency and money in a stretch of time, counted exactly under the account's lock.
--
-- A minute slides: 61 buckets of a second, so that whatever 60 seconds one looks at, no more than the limit was let in. Days,
-- weeks (from Monday) and months are those of UTC.

-- Drops what is too old, and begins the day and the period that p_now lies in. p_charged is what was charged in all so far.
CREATE FUNCTION roll_limits(l limits, p_now timestamptz, p_charged bigint) RETURNS limits LANGUAGE plpgsql AS $$
DECLARE
    v_second bigint := floor(extract(epoch FROM p_now));
    v_day date := (p_now AT TIME ZONE 'UTC')::date;
    v_start timestamptz;
BEGIN
    -- More than a minute ahead: counted by a clock that was wrong.
    IF abs(v_second - l.second) > 60 OR cardinality(l.requests) = 0 THEN
        l.requests := array_fill(0, ARRAY[61]);
        l.tokens := array_fill(0::bigint, ARRAY[61]);
        l.second := v_second;
    END IF;
    WHILE l.second < v_second LOOP
        l.second := l.second + 1;
        l.requests[l.second % 61 + 1] := 0;
        l.tokens[l.second % 61 + 1] := 0;
    END LOOP;
    -- Forward only: a clock that steps back a little over midnight doesn't begin the day twice.
    IF l.day IS NULL OR l.day < v_day OR l.day > v_day + 1 THEN
        l.day := v_day;
        l.day_requests := 0;
    END IF;
    IF l.budget IS NOT NULL THEN
        v_start := date_trunc(l.budget_period, p_now AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
        IF l.period_start IS NULL OR l.period_start < v_start OR l.period_start > v_start + interval '2 days' THEN
            l.period_start := v_start;
            l.period_charged := p_charged;
        END IF;
    END IF;
    RETURN l;
END
$$;

CREATE FUNCTION save_limits(l limits) RETURNS void LANGUAGE sql AS $$
    UPDATE limits SET second = l.second, requests = l.requests, tokens = l.tokens, day = l.day,
        day_requests = l.day_requests, period_start = l.period_start, period_charged = l.period_charged
    WHERE account_id = l.account_id AND key_id = l.key_id
$$;

-- One more request, with the tokens that are counted for it until it is known how many they were. NULL stays NULL.
CREATE FUNCTION count_request(l limits, p_tokens bigint) RETURNS limits LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF l.account_id IS NOT NULL THEN
        l.requests[l.second % 61 + 1] := l.requests[l.second % 61 + 1] + 1;
        l.tokens[l.second % 61 + 1] := l.tokens[l.second % 61 + 1] + p_tokens;
        l.day_requests := l.day_requests + 1;
    END IF;
    RETURN l;
END
$$;

-- Seconds until `need` more fit under p_limit: when enough of the oldest buckets have left the minute.
CREATE FUNCTION wait_for_room(p_buckets bigint[], p_second bigint, p_now timestamptz, p_limit bigint, p_need bigint)
RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_used bigint := (SELECT sum(b) FROM unnest(p_buckets) AS b);
BEGIN
    FOR s IN p_second - 60 .. p_second LOOP
        EXIT WHEN v_used + p_need <= p_limit;
        v_used := v_used - p_buckets[s % 61 + 1];
        IF v_used + p_need <= p_limit THEN
            RETURN GREATEST(0, s + 61 - extract(epoch FROM p_now));
        END IF;
    END LOOP;
    RETURN 61;
END
$$;

-- Why a request may not pass now, as {"limit", "wait"}: the name of the limit and seconds until it may; NULL: it may.
-- p_open are the holds that are open already.
CREATE FUNCTION find_limit(l limits, p_now timestamptz, p_tokens bigint, p_open int) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF l.concurrency <= p_open THEN
        RETURN jsonb_build_object('limit', 'concurrency', 'wait', 1);
    END IF;
    IF l.rpm <= (SELECT sum(r) FROM unnest(l.requests) AS r) THEN
        RETURN jsonb_build_object('limit', 'rpm', 'wait', wait_for_room(l.requests::bigint[], l.second, p_now, l.rpm, 1));
    END IF;
    -- A request that is larger than the whole limit passes alone.
    IF l.tpm < (SELECT sum(t) FROM unnest(l.tokens) AS t) + LEAST(p_tokens, l.tpm) THEN
        RETURN jsonb_build_object('limit', 'tpm', 'wait',
            wait_for_room(l.tokens, l.second, p_now, l.tpm, LEAST(p_tokens, l.tpm)));
    END IF;
    IF l.rpd <= l.day_requests THEN
        RETURN jsonb_build_object('limit', 'rpd', 'wait',
            extract(epoch FROM (date_trunc('day', p_now AT TIME ZONE 'UTC') + interval '1 day') AT TIME ZONE 'UTC' - p_now));
    END IF;
    RETURN NULL;
END
$$;

-- Nano-dollars that a budget leaves, of which open holds may have some; NULL: no bound. One in shadow bounds nothing.
CREATE FUNCTION budget_left(l limits, p_charged bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN NOT l.shadow THEN l.budget - (p_charged - l.period_charged) END
$$;

-- Seconds until the budget begins anew.
CREATE FUNCTION wait_for_budget(l limits, p_now timestamptz) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT extract(epoch FROM
        (date_trunc(l.budget_period, p_now AT TIME ZONE 'UTC') + ('1 ' || l.budget_period)::interval) AT TIME ZONE 'UTC' - p_now)
$$;

-- Why a row of limits refuses a request, or in shadow would, as {"scope", "limit", "wait"}; NULL: it doesn't.
CREATE FUNCTION find_refusal(
    l limits, p_scope text, p_now timestamptz, p_tokens bigint, p_open int, p_charged bigint, p_minimum bigint
) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_why jsonb := find_limit(l, p_now, p_tokens, p_open);
BEGIN
    -- What costs nothing passes, even where a budget was lowered below what is spent.
    IF v_why IS NULL AND p_minimum > 0 AND l.budget - (p_charged - l.period_charged) < p_minimum THEN
        v_why := jsonb_build_object('limit', 'budget', 'wait', wait_for_budget(l, p_now));
    END IF;
    RETURN v_why || jsonb_build_object('scope', p_scope);
END
$$;

-- What is left of the minute, for the headers that SDKs show. Limits in shadow are the operator's to know.
CREATE FUNCTION limits_standing(l limits) RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'rpm', l.rpm, 'requests_left', GREATEST(0, l.rpm - (SELECT sum(r) FROM unnest(l.requests) AS r)),
        'tpm', l.tpm, 'tokens_left', GREATEST(0, l.tpm - (SELECT sum(t) FROM unnest(l.tokens) AS t)))
    WHERE NOT l.shadow
$$;

-- Puts what requests really used in the place of what was counted when they were let in, for the holds that are about to
-- be settled. What was counted too much is taken back in its own second, what was counted too little is counted now; what a
-- limit in shadow didn't count stays uncounted.
CREATE FUNCTION settle_limits(p_accounts bigint[], p_ids uuid[], p_usages text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    used record;
    l limits;
    v_charged bigint;
    v_delta bigint;
    v_taken bigint;
BEGIN
    FOR used IN
        SELECT h.account_id, k.key_id, array_agg(floor(extract(epoch FROM h.created_at))::bigint) AS seconds,
            array_agg(COALESCE((g.usage::jsonb->>'input_tokens')::bigint, 0)
                + COALESCE((g.usage::jsonb->>'output_tokens')::bigint, 0) - h.tokens) AS deltas
        FROM unnest(p_accounts, p_ids, p_usages) AS g(account_id, id, usage)
        JOIN holds h ON h.account_id = g.account_id AND h.id = g.id
        CROSS JOIN LATERAL (VALUES (0::bigint), (h.key_id)) AS k(key_id)
        JOIN limits m ON m.account_id = h.account_id AND m.key_id = k.key_id AND m.since <= h.created_at
        WHERE h.tokens IS NOT NULL AND COALESCE(h.uncounted, 0) & CASE k.key_id WHEN 0 THEN 1 ELSE 2 END = 0
        GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        SELECT * INTO l FROM limits WHERE account_id = used.account_id AND key_id = used.key_id;
        IF used.key_id = 0 THEN
            SELECT charged INTO v_charged FROM account_balances WHERE account_id = used.account_id;
        ELSE
            SELECT charged INTO v_charged FROM key_balances WHERE account_id = used.account_id AND key_id = used.key_id;
        END IF;
        l := roll_limits(l, v_now, v_charged);
        FOR i IN 1 .. cardinality(used.deltas) LOOP
            v_delta := used.deltas[i];
            IF v_delta > 0 THEN
                l.tokens[l.second % 61 + 1] := l.tokens[l.second % 61 + 1] + v_delta;
            END IF;
            -- The hold's time is that of its transaction's start; it was counted within the statement's time-out after that.
            FOR s IN GREATEST(used.seconds[i], l.second - 60) .. LEAST(used.seconds[i] + 10, l.second) LOOP
                EXIT WHEN v_delta >= 0;
                v_taken := LEAST(-v_delta, l.tokens[s % 61 + 1]);
                l.tokens[s % 61 + 1] := l.tokens[s % 61 + 1] - v_taken;
                v_delta := v_delta + v_taken;
            END LOOP;
        END LOOP;
        PERFORM save_limits(l);
    END LOOP;
END
$$;

-- Only what is set by people is announced, not what is counted.
CREATE FUNCTION announce_limits() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    v_key bigint := COALESCE(NEW.key_id, OLD.key_id);
BEGIN
    PERFORM pg_notify('relaygate',
        CASE WHEN v_key = 0 THEN 'account:' || COALESCE(NEW.account_id, OLD.account_id) ELSE 'key:' || v_key END);
    RETURN NULL;
END
$$;

CREATE TRIGGER limits_announce
    AFTER INSERT OR DELETE OR UPDATE OF rpm, tpm, rpd, concurrency, budget, budget_period ON limits
    FOR EACH ROW EXECUTE FUNCTION announce_limits();

-- Who is told that the quota runs low, and when: in the very transaction that crosses a threshold.

-- The highest threshold that the amount isn't below yet. NULL where there is none.
CREATE FUNCTION next_alert(p_account bigint, p_remaining bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT max(t.threshold) FROM webhooks w, unnest(w.thresholds) AS t(threshold)
    WHERE w.account_id = p_account AND t.threshold <= p_remaining
$$;

-- One message however many thresholds one charge passes at once. `quota` is what remains, in dollars.
CREATE FUNCTION tell_quota_too_low() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deliveries (account_id, topic, body) VALUES (
        NEW.account_id, 'user_quota_too_low',
        format('{"topic": "user_quota_too_low", "data": {"quota": %s}}',
            trim_scale((NEW.balance + NEW.held)::numeric / 1000000000))
    );
    NEW.alert_below := next_alert(NEW.account_id, NEW.balance + NEW.held);
    RETURN NEW;
END
$$;

CREATE FUNCTION rearm_alerts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.alert_below := next_alert(NEW.account_id, NEW.balance + NEW.held);
    RETURN NEW;
END
$$;

-- The conditions are checked without calling anything: an account far above its thresholds pays nothing for them. Money
-- that is merely held still counts as remaining, or every crowd of requests would cross.
CREATE TRIGGER account_balances_alert BEFORE UPDATE ON account_balances
    FOR EACH ROW WHEN (NEW.balance + NEW.held < NEW.alert_below) EXECUTE FUNCTION tell_quota_too_low();
CREATE TRIGGER account_balances_rearm BEFORE UPDATE OF granted ON account_balances
    FOR EACH ROW WHEN (NEW.granted > OLD.granted) EXECUTE FUNCTION rearm_alerts();

CREATE FUNCTION announce_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('relaygate', 'delivery');
    RETURN NULL;
END
$$;

CREATE TRIGGER deliveries_announce AFTER INSERT ON deliveries
    FOR EACH STATEMENT EXECUTE FUNCTION announce_delivery();

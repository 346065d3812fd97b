-- Every change of what gateways keep in memory is announced by the database itself, so that an edit by hand counts too.
CREATE FUNCTION announce_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('relaygate', 'key:' || COALESCE(NEW.id, OLD.id));
    RETURN NULL;
END
$$;

CREATE FUNCTION announce_account() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('relaygate', 'account:' || COALESCE(NEW.id, OLD.id));
    RETURN NULL;
END
$$;

CREATE FUNCTION announce_catalog() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('relaygate', 'catalog');
    RETURN NULL;
END
$$;

CREATE FUNCTION refuse_price_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a price row never changes: entries point at it';
END
$$;

CREATE TRIGGER keys_announce AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH ROW EXECUTE FUNCTION announce_key();
CREATE TRIGGER accounts_announce AFTER UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION announce_account();
CREATE TRIGGER channels_announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON channels
    FOR EACH STATEMENT EXECUTE FUNCTION announce_catalog();
CREATE TRIGGER channel_models_announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON channel_models
    FOR EACH STATEMENT EXECUTE FUNCTION announce_catalog();
CREATE TRIGGER models_announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON models
    FOR EACH STATEMENT EXECUTE FUNCTION announce_catalog();
CREATE TRIGGER aliases_announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON aliases
    FOR EACH STATEMENT EXECUTE FUNCTION announce_catalog();
CREATE TRIGGER prices_frozen BEFORE UPDATE OR DELETE ON prices
    FOR EACH ROW EXECUTE FUNCTION refuse_price_change();
CREATE TRIGGER model_groups_announce AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON model_groups
    FOR EACH STATEMENT EXECUTE FUNCTION announce_catalog();

"""The database schema's history, applied by `relaygate migrate` and at every start."""

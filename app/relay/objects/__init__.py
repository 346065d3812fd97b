"""Objects that upstreams keep for accounts (files, batches, vector stores, …), and other paths that channels pass on."""

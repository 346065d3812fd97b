"""What operators do from a terminal, one module a subject; works on the database, whether a gateway runs or not."""

"""The ledger at its own level: real commits over several connections, faults included."""

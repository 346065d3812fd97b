"""The background loop: leases, orphans, and later whatever else falls due."""

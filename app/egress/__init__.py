"""Calls to URLs that users gave: what they may reach, and the client that reaches nothing else."""

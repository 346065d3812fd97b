"""Accounts, the keys they are given, and who a presented key belongs to. No money."""

"""The holder API: what an account sees and does with one of its keys."""

"""Media tasks: what is made in minutes instead of seconds, with its money, its life, its results."""

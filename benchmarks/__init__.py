"""Timed by hand, never by tests; each prints a table."""

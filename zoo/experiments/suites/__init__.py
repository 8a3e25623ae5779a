"""Suites that come with the zoo."""

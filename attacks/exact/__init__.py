"""Attacks that read records off sums, and prove which of them are right."""

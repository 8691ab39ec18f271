"""Tests of what is said about somebody else's run."""

"""Cohorts, experiments and the command line."""

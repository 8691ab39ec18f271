"""Measured speed: what protection costs in bytes and in time, beside what others pay."""

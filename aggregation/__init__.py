"""Hospitals, the aggregator between them, sealed sums and the transcript of what crossed a wall."""

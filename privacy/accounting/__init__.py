"""What a release costs: events in, certified intervals of epsilon and delta out."""

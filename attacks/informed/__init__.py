"""Who knows all patients but one, and what candidates for that one would have sent."""

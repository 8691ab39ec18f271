"""What each adversary can reconstruct from what it truly saw."""

"""Servers that choose the model they send."""

"""Attacks that search for records whose gradients are those that were seen."""

"""What a release costs in privacy, who may spend it, and what remains provably out of reach.

The lowest layer: it knows patients only as rows of numbers and nothing of hospitals or attacks.
"""

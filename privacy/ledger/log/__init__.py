"""A ledger's lines: how they are spelt, signed, hashed and kept, whatever they mean."""

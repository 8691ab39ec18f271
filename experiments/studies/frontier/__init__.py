"""The frontier: what each design gives away against what it gains."""

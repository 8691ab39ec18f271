"""What a stranger makes of ledgers: read, verify, prove, show, register. Nothing is believed."""

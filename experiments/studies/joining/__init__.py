"""Is a federation worth joining? The study whose protocol is ``paper/protocol.md``."""

"""Small real runs of other programs, and the scripts that made them (``make bench-setup``)."""

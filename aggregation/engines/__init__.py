"""What carries messages between roles: in one process, or many hospitals at once without roles."""

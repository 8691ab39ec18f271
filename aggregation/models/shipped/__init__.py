"""Factories that come with the project: each file is read, digested and run as a stranger's is."""

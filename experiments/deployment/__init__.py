"""Federations between processes: whose tables, which plan, who is started, what was measured."""

"""Any hospital's own table: public schema, private mapping, and the cohort that lists them.

``schema.toml`` is public and the same everywhere, ``table.toml`` stays at its hospital,
``cohort.toml`` lists hospitals for an experiment; the modules ``schema``, ``mapping`` and
``cohort`` say what may stand in each.
"""

from aggregation.data.cohort import Cohort
from aggregation.data.patients import Column, Field, Patients, Schema
from aggregation.data.tables import read_table

__all__ = ["Cohort", "Column", "Field", "Patients", "Schema", "read_table"]

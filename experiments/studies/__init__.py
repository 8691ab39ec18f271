"""The studies: what each measures, point by point, and what is told and drawn of its records."""

"""The study of treatment-effect systems: the tables and figures of the ESCFR paper, and where its parts help."""

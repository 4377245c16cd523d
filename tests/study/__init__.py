"""Studies behind docs/estimators.md: ``python -m tests.study``."""

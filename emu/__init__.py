"""The operator's bench: boots a machine, runs workloads on it, checks and reports."""

__version__ = "0.1.0"

"""The operator's bench: boots a machine, runs workloads on it, checks and reports."""

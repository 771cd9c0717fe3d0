"""Benchmarks and studies, run from a checkout: ``python -m python_benchmarks.<name>``."""

"""This solver beside its peers, in one process: ``python -m python_benchmarks.peers --help``."""

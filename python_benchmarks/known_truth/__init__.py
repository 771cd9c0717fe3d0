"""What balancing does where every rating and every propensity is known: ``python -m python_benchmarks.known_truth``."""

"""The solver once more in plain torch: the oracle of the kernels' tests, and their stand-in."""

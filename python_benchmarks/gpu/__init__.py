"""The CUDA solver on a GPU: checked in float64 first, then timed with events, and run under compute-sanitizer."""

"""The systems, a class each: what it minimises over the shared base models."""

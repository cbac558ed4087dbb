"""Features -> numbers: distances, manifolds, tests for memorization, and mmagic metrics."""

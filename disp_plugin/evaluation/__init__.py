"""Images -> numbers: metrics, tests for memorisation, and the report of a run."""

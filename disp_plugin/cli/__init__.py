"""From a command line to a run: options checked, sizes chosen, errors in the user's words."""

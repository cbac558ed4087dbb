"""Train methods x techniques x seeds on one data set with one budget; write one table."""

"""What the author of a check has: the handle on a submission, expectations, races."""

"""From a submission to its score, from many to a journal."""

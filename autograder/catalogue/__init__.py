"""What there is to learn: lessons, their sources, their questions."""

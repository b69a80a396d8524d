"""Everything that touches the untrusted side."""

"""What is told of scores: pages, pictures, tables, files for other programs."""

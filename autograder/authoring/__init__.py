"""What an instructor makes: the course, its editions, a new lesson."""

"""What a learner meets: verdicts, a record of practice, cards, a quiz."""

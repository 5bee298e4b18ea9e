"""Which level a life is given: level buffers, what a level's score is, and which are replayed."""

"""Training: the learner, what plugins may use of it, and what watches it."""

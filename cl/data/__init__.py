"""From raw examples to batches: encode once, store flat, sample in an order that a seed fixes."""

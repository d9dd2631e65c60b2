"""Train a language model with an unlearning method: one loop, two step backends, any number of ranks."""

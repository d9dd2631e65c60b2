"""Hyperparameter and robustness sweeps for LLM unlearning. The four packages are links to the folders at the root."""

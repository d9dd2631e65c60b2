"""Hyperparameter and robustness sweeps for LLM unlearning. The four packages are links to the folders at the root."""

__version__ = "0.1.0"

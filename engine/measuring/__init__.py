"""Measuring workers: further processes that share the rows of an evaluation, each with a copy of the model."""

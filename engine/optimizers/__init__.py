"""Optimizers of a training: one file each, with its settings and its update, and their catalog. Imports no torch."""

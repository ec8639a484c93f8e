"""Measures models and never changes weights."""

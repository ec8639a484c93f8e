"""Intervals and paired differences from resampling patients."""

"""Calibration and 4-bit weights, one module a target."""

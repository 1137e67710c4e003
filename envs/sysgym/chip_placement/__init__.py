"""Chip macro placement: rules, files, geometry and action modes."""

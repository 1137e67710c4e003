"""Chip macro placement: netlists and placements of Circuit Training, and the public proxy cost."""

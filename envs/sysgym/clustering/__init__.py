"""Clustering by the normalised cut, as CNC, SpectralNet and Shi and Malik have it."""

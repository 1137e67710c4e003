"""Architectures of translation networks: choose a configuration by a few noisy evaluations."""

"""Networks as graphs of regions, by formula from the definitions of their models."""

"""Balanced graph partitioning (GAP; Walshaw's archive; METIS and KaHIP as peers)."""

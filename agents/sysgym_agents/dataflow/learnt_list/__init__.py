"""List scheduling whose choice of a device is learnt, and the search that goes on from its placements."""

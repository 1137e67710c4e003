"""LEF libraries and DEF designs: read as instances and as placements, written back with only the macros moved."""

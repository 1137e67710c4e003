"""Where macros are and may be: sizes, overlaps, wires, forces and incremental moves."""

"""Standard cells to soft macros, by Circuit Training's rules."""

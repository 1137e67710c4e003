"""The parts of `sa-device`: starts, the compiled loop of moves, and the loop in Python for what it leaves out."""

"""NMT decoding: write the answer of a frozen network, token by token, or steer the search for it."""

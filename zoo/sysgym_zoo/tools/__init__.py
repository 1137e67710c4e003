"""Commands for one family, found by their entry points."""

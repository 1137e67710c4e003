"""Pictures of designs, and the same in words."""

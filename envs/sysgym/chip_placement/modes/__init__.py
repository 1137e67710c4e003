"""The action modes of chip placement."""

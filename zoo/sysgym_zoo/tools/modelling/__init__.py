"""`sysgym train-model`: models that write text, trained by recipes that are TOML files in `recipes/`."""

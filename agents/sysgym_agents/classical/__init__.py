"""Reference agents without learning."""

"""Maintainers' commands that write the packaged instances and their indices."""

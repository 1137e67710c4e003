"""Pictures of an execution (written next)."""

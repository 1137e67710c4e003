"""What a placement costs: the event-driven simulator, Placeto's, and throughput."""

"""Gantt charts, traces and texts of what runs when."""

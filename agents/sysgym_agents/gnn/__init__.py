"""Graph neural networks and the learners that use them directly on instances."""

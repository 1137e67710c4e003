"""Response decoding: write an answer to a message segment by segment, from a frozen dialogue model."""

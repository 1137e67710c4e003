"""Episodes in which text is written: sentences, how an answer is scored, and the action modes."""

"""Where the numbers of a training go beside `metrics.jsonl`, and what they are called."""

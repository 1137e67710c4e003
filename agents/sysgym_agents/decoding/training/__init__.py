"""Training of the sequence models that problems of decoding stand on. Only those who train import these modules."""

"""Networks that give the next token's log-probabilities: recurrent encoder-decoders and a Transformer, in numpy."""

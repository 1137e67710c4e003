"""`sysgym tune`: hyper-parameters of a learner chosen by what it does on a valid split."""

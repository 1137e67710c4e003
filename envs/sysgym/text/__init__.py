"""Models that write text token by token: vocabularies, networks in numpy, search, sampling, scores and metrics.

`catalogue.load_model` gives a `model.TextModel`, by name or from a folder; `search` and `sampling` decode with it,
`segments` is the stochastic beam search that reranks segment by segment, `scoring` says how probable given texts are.
A sentence has the same bits alone and in any batch.
"""

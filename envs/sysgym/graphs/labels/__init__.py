"""Problems that give each node of a graph one of k labels: action modes, incremental kernels, batches.

What a label costs is a parameter (`Rules`): the cut, with a limit on the weight of a part, or the normalised cut.
"""

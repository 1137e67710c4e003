"""What learners share: layers, sparse products, weights, snapshots, the training loop."""

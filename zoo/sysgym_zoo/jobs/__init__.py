"""What commands do: runs, training, evaluation, reports."""

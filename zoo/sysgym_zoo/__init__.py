"""The command line: recipes, runs, training, evaluation, reports and benchmarks."""

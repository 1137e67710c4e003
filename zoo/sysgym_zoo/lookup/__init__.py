"""From words on the command line to problems, agents, recipes, benchmarks and instances, and what there is of each."""

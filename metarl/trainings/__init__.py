"""Meta-trainings of learned rules, one published system a file: the parts and the numbers."""

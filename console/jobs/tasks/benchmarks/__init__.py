"""The benchmarks, one a file: each asks and scores its models, and hands the numbers to ``console.evaluation``."""

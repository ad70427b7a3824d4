"""Fuzzers that follow the branches of the code (atheris), each with a fixed budget: `make fuzz`."""

"""What the package costs, measured: `python -m benchmarks [training|metrics|scenes]`.

Each writes a JSON file to data/benchmarks and prints a table. They are no tests: nothing fails for being slow. Run them
on an idle machine.
"""

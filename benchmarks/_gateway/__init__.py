"""The parts of benchmarks/gateway.py and benchmarks/fairness.py."""

"""What an operator sees of a running gateway: its log, its metrics and its traces."""

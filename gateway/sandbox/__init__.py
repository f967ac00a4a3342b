"""Test mode's providers: one server that speaks every plugin's provider, with its own bill and faults."""

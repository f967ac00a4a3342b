"""Parts of ``benchmarks.detection_lag``."""

"""Wan-nano: small trained models of every Wan 2.2 kind, in this package, whole folders on demand."""

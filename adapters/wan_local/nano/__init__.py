"""Wan-nano: small models of every Wan 2.2 kind, stored as parts, put together as whole folders on demand."""

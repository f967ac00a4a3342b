"""Wan 2.2 in this process, on a device slot: ``plugin`` for the gateway, ``engine`` a library of its own."""

"""What a plugin may lean on: HTTP with error translation, an MP4 writer, and the contract suites."""

from __future__ import annotations

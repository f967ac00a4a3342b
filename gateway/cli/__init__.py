"""The command line, ``reelgate``: one module per command or noun, each imported only when it is called."""

from __future__ import annotations

"""For all tests: fuller failure output from the contract suites, and threads that suit two cores."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("gateway.kit.testing")

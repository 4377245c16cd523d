"""Conformance under the name that users' test suites import: see `cropaudit.conformance`."""

from cropaudit.conformance import assert_conforms

__all__ = ["assert_conforms"]

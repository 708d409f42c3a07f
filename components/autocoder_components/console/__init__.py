"""Payloads for a person, or a program, at the other end of standard output."""

from autocoder_components.console.printing import Print

__all__ = ["Print"]

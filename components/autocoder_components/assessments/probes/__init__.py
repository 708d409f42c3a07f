"""Probes: asking a configured server whether it is up, by programs and connections that are allowed, bounded and ended."""

from autocoder_components.assessments.probes.component import ProbeServer

__all__ = ["ProbeServer"]

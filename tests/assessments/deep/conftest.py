"""What the tests of the probes have, for those of the deep scan."""

from tests.assessments.probes.conftest import program

__all__ = ["program"]

"""What the tests of the probes and of the lifecycle have, for those of the deep scan."""

from tests.assessments.lifecycle.conftest import url
from tests.assessments.probes.conftest import program

__all__ = ["program", "url"]

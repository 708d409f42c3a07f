"""What the tests of the probes and of the lifecycle have, for those of the deep scan."""

from tests.assessments.lifecycle.conftest import database, url
from tests.assessments.probes.conftest import program

__all__ = ["database", "program", "url"]

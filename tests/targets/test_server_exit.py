"""A server's exit code is one error, whatever target started it."""

from __future__ import annotations

import pytest
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.targets.server_exit import is_permanent, startup_error


@pytest.mark.parametrize(
    ("code", "error", "permanent"),
    [
        (1, Refused, True),
        (2, UsageError, True),
        (3, EnvironmentFault, False),
        (5, EnvironmentFault, False),
        (137, EnvironmentFault, False),
        (None, EnvironmentFault, False),
    ],
)
def test_only_a_refusal_and_wrong_usage_are_permanent(code, error, permanent):
    made = startup_error(code, "INFO: starting\nerror: the bundle is damaged\n")
    assert type(made) is error
    assert str(made) == "the server did not start: the bundle is damaged"
    assert is_permanent(code) is permanent


def test_without_output_the_exit_code_is_named():
    assert str(startup_error(137, " \n")) == "the server did not start: exit code 137"


def test_exit_codes_of_other_programs_are_faults_of_the_environment():
    made = startup_error(1, "no such host", program="gateway", serves_bundle=False, hint="see log")
    assert type(made) is EnvironmentFault
    assert str(made) == "the gateway did not start: no such host; see log"

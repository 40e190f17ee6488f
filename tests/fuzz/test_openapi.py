"""schemathesis with the server's own OpenAPI: whatever is sent, the answers are as it describes."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.server.scripted import Server, scripted_server

pytestmark = pytest.mark.slow

GOOD, BAD = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
CASES = [
    ("/live", "GET", GOOD),
    ("/ready", "GET", GOOD),
    ("/metrics", "GET", GOOD),
    ("/v1/audio/transcriptions", "POST", BAD),
    ("/v1/audio/translations", "POST", BAD),
    ("/v1/listen", "POST", BAD),
    ("/v1/models", "GET", GOOD),
]
"""Path, method, and whether valid or invalid requests are generated. Valid audio cannot be generated, and the name of a
model may be "..", which makes another path: tests/server/test_rest.py has valid requests for both."""

LENIENT = {"/v1/listen": [negative_data_rejection]}
"""Checks that do not hold: like Deepgram, the server takes an option that is empty or in capital letters, which the
description does not mention."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scripted_server(max_sessions=4) as running:
        yield running


@pytest.mark.parametrize(("path", "method", "mode"), CASES, ids=[path for path, _, _ in CASES])
def test_answers_are_as_described(server: Server, path: str, method: str, mode: GenerationMode) -> None:
    """Status, content type and body are in the schema, and the status is never 500."""
    operation = schemathesis.openapi.from_dict(httpx.get(f"{server.url}/openapi.json").json())[path][method]

    @hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def run(data: Any) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        case.call_and_validate(base_url=server.url, timeout=20, excluded_checks=LENIENT.get(path, []))

    run()
    server.check_alive()

"""Error responses."""

import pytest

from whisperlivekit.errors import InternalError, NoCapacity, Unauthorized, UnknownHost, WhisperLiveKitError
from whisperlivekit.server.responses import error_response


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (NoCapacity("full"), 503, {"retry-after": "5"}),
        (Unauthorized("no key"), 401, {"www-authenticate": "Bearer"}),
        (UnknownHost("x"), 421, {}),
        (InternalError(), 500, {}),
    ],
)
def test_an_error_becomes_its_status_with_the_headers_that_belong_to_it(
    error: WhisperLiveKitError, status: int, headers: dict[str, str]
) -> None:
    """And its code, message and session in the body."""
    response = error_response(error, "0123456789abcdef")
    assert response.status_code == status
    assert bytes(response.body) == (
        f'{{"code":"{error.code}","message":"{error.message}","session":"0123456789abcdef"}}'.encode()
    )
    extra = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
    assert extra == headers

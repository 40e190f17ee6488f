"""Which known name was probably meant."""

from whisperlivekit.settings.declarations import variables
from whisperlivekit.settings.wording import nearest


def test_nearest_ignores_the_common_prefix() -> None:
    """Otherwise all WLK_ names would be similar."""
    assert nearest("WLK_FOO", variables()) is None
    assert nearest("WLK_SSL_CERT_FILE", variables()) == "WLK_SSL_CERTFILE"

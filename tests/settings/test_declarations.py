"""The declarations: defaults and derived values."""

import pytest

from whisperlivekit.settings.declarations import Settings, variables


def test_there_are_at_most_forty_settings() -> None:
    assert len(variables()) <= 40


def test_the_defaults() -> None:
    settings = Settings()
    assert (settings.model, settings.language, settings.frame_threshold, settings.beams) == ("small", "ru", 25, 3)
    assert (settings.gunicorn_timeout, settings.gunicorn_max_requests) == (120, 500)
    assert settings.gunicorn_preload
    assert settings.min_chunk_size == 0.6


def test_the_constructor_knows_attributes_only() -> None:
    """A misspelt keyword is an error and not a default."""
    with pytest.raises(ValueError, match="prt"):
        Settings(prt=1)  # type: ignore[call-arg]


def test_lists_are_split() -> None:
    settings = Settings(api_keys="aaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbb", allowed_origins="https://a.org,*")
    assert settings.api_key_list == ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb")
    assert settings.allowed_origin_list == ("https://a.org", "*")


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]


def test_lists_of_hosts_and_networks_are_split() -> None:
    """Names stay as they are; an address becomes a network of one."""
    settings = Settings(allowed_hosts="a.org, my_box", metrics_allow="127.0.0.1, 10.1.2.3/8,fd00::/8")
    assert settings.allowed_host_list == ("a.org", "my_box")
    assert [str(network) for network in settings.metrics_network_list] == ["127.0.0.1/32", "10.0.0.0/8", "fd00::/8"]


def test_the_ports_are_listed_with_their_variables() -> None:
    """Vosk's is one of them if it is set, and must be another one."""
    assert Settings().http_ports == {"WLK_PORT": 8000}
    assert Settings(vosk_port=2700).http_ports == {"WLK_PORT": 8000, "WLK_VOSK_PORT": 2700}
    with pytest.raises(ValueError, match="WLK_VOSK_PORT and WLK_PORT are both 2700"):
        Settings(port=2700, vosk_port=2700)


def test_no_two_ports_are_the_same() -> None:
    """The variables are named."""
    assert list(Settings(vosk_port=2700, wyoming_port=10300).ports.values()) == [8000, 2700, 10300]
    with pytest.raises(ValueError, match="WLK_WYOMING_PORT is 2700, which serves HTTP too"):
        Settings(vosk_port=2700, wyoming_port=2700)

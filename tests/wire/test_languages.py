"""Language codes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperlivekit.errors import UnsupportedFormat
from whisperlivekit.wire.languages import LANGUAGES, check_language


def test_the_table_is_whispers() -> None:
    """The table has exactly the codes of the multilingual models."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(LANGUAGES) == set(_LANGUAGE_CODES)
    assert list(LANGUAGES) == sorted(LANGUAGES)


@given(asked=st.text() | st.sampled_from(["ru", "auto", "RU", "ru_RU"]))
def test_any_text_is_a_language_or_a_clear_error(asked: str) -> None:
    """A known code is returned unchanged; anything else is UnsupportedFormat."""
    if asked in LANGUAGES or asked == "auto":
        assert check_language(asked) == asked
    else:
        with pytest.raises(UnsupportedFormat, match="expected a Whisper language code"):
            check_language(asked)


@pytest.mark.parametrize(
    ("asked", "meant"), [("ru-RU", "ru"), ("RU", "ru"), ("Russian", "ru"), ("rusian", "ru"), ("en_US", "en")]
)
def test_what_was_meant_is_told(asked: str, meant: str) -> None:
    """The error for a locale, a name or a misspelt name suggests the code."""
    with pytest.raises(UnsupportedFormat, match=f'did you mean "{meant}"'):
        check_language(asked)

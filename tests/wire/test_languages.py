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
    """A text is a known code or "auto" with or without a region, or UnsupportedFormat."""
    if asked.lower().replace("_", "-").split("-")[0] in {*LANGUAGES, "auto"}:
        code = check_language(asked)
        assert code in LANGUAGES or code == "auto"
        assert asked.lower().startswith(code)
    else:
        with pytest.raises(UnsupportedFormat, match="expected a Whisper language code"):
            check_language(asked)


@pytest.mark.parametrize(("asked", "code"), [("ru-RU", "ru"), ("RU", "ru"), ("en_US", "en"), ("zh-Hans-CN", "zh")])
def test_a_region_is_ignored(asked: str, code: str) -> None:
    """Browsers and other services send tags with a region: it does not matter."""
    assert check_language(asked) == code


@pytest.mark.parametrize(("asked", "meant"), [("Russian", "ru"), ("rusian", "ru"), ("xx-RU", None)])
def test_what_was_meant_is_told(asked: str, meant: str | None) -> None:
    """The error for a name or a misspelt name suggests the code."""
    with pytest.raises(UnsupportedFormat, match=f'did you mean "{meant}"' if meant else 'or "auto"$'):
        check_language(asked)

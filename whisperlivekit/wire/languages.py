"""The language codes of Whisper, and the check of a code that a client sends."""

from difflib import get_close_matches

from whisperlivekit.errors import UnsupportedFormat

LANGUAGES: dict[str, str] = {
    "af": "afrikaans", "am": "amharic", "ar": "arabic", "as": "assamese", "az": "azerbaijani", "ba": "bashkir",
    "be": "belarusian", "bg": "bulgarian", "bn": "bengali", "bo": "tibetan", "br": "breton", "bs": "bosnian",
    "ca": "catalan", "cs": "czech", "cy": "welsh", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fo": "faroese",
    "fr": "french", "gl": "galician", "gu": "gujarati", "ha": "hausa", "haw": "hawaiian", "he": "hebrew",
    "hi": "hindi", "hr": "croatian", "ht": "haitian creole", "hu": "hungarian", "hy": "armenian", "id": "indonesian",
    "is": "icelandic", "it": "italian", "ja": "japanese", "jw": "javanese", "ka": "georgian", "kk": "kazakh",
    "km": "khmer", "kn": "kannada", "ko": "korean", "la": "latin", "lb": "luxembourgish", "ln": "lingala", "lo": "lao",
    "lt": "lithuanian", "lv": "latvian", "mg": "malagasy", "mi": "maori", "mk": "macedonian", "ml": "malayalam",
    "mn": "mongolian", "mr": "marathi", "ms": "malay", "mt": "maltese", "my": "myanmar", "ne": "nepali",
    "nl": "dutch", "nn": "nynorsk", "no": "norwegian", "oc": "occitan", "pa": "punjabi", "pl": "polish",
    "ps": "pashto", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sa": "sanskrit", "sd": "sindhi",
    "si": "sinhala", "sk": "slovak", "sl": "slovenian", "sn": "shona", "so": "somali", "sq": "albanian",
    "sr": "serbian", "su": "sundanese", "sv": "swedish", "sw": "swahili", "ta": "tamil", "te": "telugu",
    "tg": "tajik", "th": "thai", "tk": "turkmen", "tl": "tagalog", "tr": "turkish", "tt": "tatar", "uk": "ukrainian",
    "ur": "urdu", "uz": "uzbek", "vi": "vietnamese", "yi": "yiddish", "yo": "yoruba", "yue": "cantonese",
    "zh": "chinese",
}  # fmt: skip
"""ISO 639 code -> English name. Source: the language tokens of Whisper; large-v3 added yue."""

AUTO = "auto"
"""In place of a code: the server detects the language."""


def check_language(asked: str) -> str:
    """The code of ``asked``, which may have a region ("ru-RU", "ru_RU", "RU"); or "auto".

    Raises:
        UnsupportedFormat: it is neither; the message names the code that was probably meant.
    """
    primary = asked[:40].lower().replace("_", "-").split("-")[0]
    if primary in LANGUAGES or primary == AUTO:
        return primary
    names = {name: code for code, name in LANGUAGES.items()}
    close = get_close_matches(asked.lower()[:40], [*LANGUAGES, *names], n=1, cutoff=0.6)
    meant = names.get(close[0], close[0]) if close else None
    hint = f'; did you mean "{meant}"?' if meant else ""
    raise UnsupportedFormat(
        f'language is "{asked[:40]}", expected a Whisper language code such as "ru", or "auto"{hint}'
    )

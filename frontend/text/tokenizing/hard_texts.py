"""Lists texts on which tokenizer implementations tend to disagree, which the self-check at model
load compares.
"""

# ruff: noqa: RUF001 - look-alike characters are the point
from collections.abc import Iterable
from random import Random
from typing import Final

FRAGMENTS: Final = (
    "",
    " ",
    "a",
    "Hello, world!",
    (
        "The quick brown fox jumps over the lazy dog. It's 3.14159% of I'll, we've, don't, "
        "DON'T, y'all'd've."
    ),
    "  leading and trailing  ",
    "tabs\tand\t\ttabs, \r\nDOS lines\r\n\r\nand\n\n\n\nempty ones   \n   \n",
    " " * 37,
    "\n" * 9,
    "\u00a0no\u2003break\u3000spaces\u200bzero\u200dwidth\ufeffmark\u2028line\u2029paragraph\x85next",
    "1 12 123 1234 12345 123456 1234567 0.000001 1,000,000 ١٢٣٤ १२३ Ⅻ ½ ² 1e-10 0xDEADBEEF",
    (
        "naïve café Ångström — e\u0301 a\u0308 o\u0302\u0323 \u1100\u1161\u11a8 \u212b \ufb01 "
        "\uff21\uff22"
    ),
    "Größe straße İstanbul ıI ǅ ΌΣΟΣ ς Ждать ёж Ё",
    "中文分词测试，没有空格。日本語のテキスト、カタカナ・ひらがな漢字。한국어 텍스트입니다.",
    "العربية من اليمين إلى اليسار، עברית מימין לשמאל, فارسی، اردو",
    "हिन्दी देवनागरी தமிழ் ไทยไม่มีวรรค မြန်မာ བོད་ཡིག ខ្មែរ አማርኛ",
    "😀😃 \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd ",
    "\U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 ",
    "\u263a\ufe0f 1\ufe0f\u20e3 \U0001fae8 𝕏 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𓀀",
    "\x00\x01\x02\x1b[31mred\x7f\x80\x9f\ufffd\ufffe\uffff\U0010ffff",
    (
        'def f(x: int) -> str:\n    return f"{x!r:>{10}}"  # comment\n\n\tif x != 0 && y >= 2 || '
        "!z { a[i]++; }\n"
    ),
    '{"key": "va\\"lue", "list": [1, 2, {"nested": null}], "u": "\\u00e9"}',
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@example.co.uk C:\\path\\to\\file ../../x",
    "a" * 600,
    "abcdefghij" * 80,
    "ÿ" * 120 + "漢" * 120 + "🎉" * 40,
    "!?!?...---===***###@@@$$$%%%^^^&&&((()))[[[]]]{{{}}}<<<>>>|||~~~```\"\"\"'''",
    "camelCaseWords snake_case_words SCREAMING_CASE kebab-case MixedUPPERlower123abc",
    (
        "<|im_start|>user\n<|im_end|><|endoftext|><s></s>[INST] "
        "[/INST]<|eot_id|><think></think><tool_call></tool_call><0x0A><unk>"
    ),
    "▁ ▁▁ Ġ Ċ ĠĠ <0xE2><0x82> ##word [CLS] [SEP] [MASK]",
    "word\u0300\u0301\u0302\u0303 z̷͓̈́a̸̛͎l̵̡̀g̶͝o̷͂",
)
"""Holds one text for each class of input: empty, runs, digits, normal forms, scripts, emoji,
controls, code, long words, template marks.
"""

_MIXTURES: Final = 120
_ADDED_TOKENS_MAX: Final = 64
"""Bounds the added tokens tried inside text; some tokenizers have thousands of reserved ones, all
alike.
"""


def hard_texts(added_tokens: Iterable[str], *, seed: int = 20260101) -> list[str]:
    """Returns FRAGMENTS, the tokenizer's own added tokens inside text, and reproducible mixtures of
    all of it.
    """
    random = Random(seed)  # noqa: S311 - reproducible, not secret
    tried = sorted(set(added_tokens), key=lambda token: (len(token), token))[:_ADDED_TOKENS_MAX]
    inside = [
        text
        for token in tried
        for text in (
            token,
            f"a{token}b",
            f" {token} {token}\n{token}{token}",
            token[:-1],
            token + token[:2],
        )
    ]
    parts = [*FRAGMENTS, *inside, " ", "\n", "x", "é", "。"]
    mixtures = ["".join(random.choices(parts, k=random.randint(2, 8))) for _ in range(_MIXTURES)]
    return [*FRAGMENTS, *inside, *mixtures]

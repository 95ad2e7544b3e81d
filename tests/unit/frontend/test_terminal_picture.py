"""How `kvmesh chat --image` shows a picture in terminals of several kinds."""

import base64
import io
import re

import pytest
from PIL import Image

from frontend.cli.terminal_picture import drawn, way_of

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(size: tuple[int, int], written: str = "png") -> bytes:
    """The upper half is red, the lower one blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (0, size[1] // 2, *size))
    file = io.BytesIO()
    image.save(file, written)
    return file.getvalue()


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, "blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"}, "blocks"),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, "blocks"),
        ({"TERM": "xterm"}, "blocks"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "none"),
        ({"TERM": "dumb"}, "none"),
        ({}, "none"),
    ],
)
def test_the_environment_says_what_a_terminal_can(environment: dict[str, str], way: str) -> None:
    assert way_of(environment, "utf-8") == way


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", None])
def test_blocks_need_an_encoding_that_has_them(encoding: str | None) -> None:
    assert way_of({"TERM": "xterm"}, encoding) == "none"


@pytest.mark.parametrize("written", ["png", "jpeg", "webp"])
def test_kitty_is_given_a_png_in_pieces_that_it_takes(written: str) -> None:
    noise = Image.effect_noise((128, 128), 90)
    file = io.BytesIO()
    noise.save(file, written)
    sequences = list(drawn(file.getvalue(), "kitty", 80, 24, deep=True))
    pieces = [
        re.fullmatch(r"\033_G(a=T,f=100,q=2,)?m=([01]);([A-Za-z0-9+/=]{1,4096})\033\\", text)
        for text in sequences
    ]
    assert len(pieces) > 2
    found = [piece.groups() for piece in pieces if piece]
    assert [first is not None for first, _, _ in found] == [True] + [False] * (len(pieces) - 1)
    assert [more for _, more, _ in found] == ["1"] * (len(pieces) - 1) + ["0"]
    with Image.open(io.BytesIO(base64.b64decode("".join(text for _, _, text in found)))) as shown:
        assert (shown.format, shown.size) == ("PNG", (128, 128))


def test_iterm_is_given_the_file_as_it_is() -> None:
    data = picture((8, 8), "webp")
    (text,) = drawn(data, "iterm", 80, 24, deep=True)
    told = base64.b64encode(data).decode()
    assert text == f"\033]1337;File=inline=1;size={len(data)}:{told}\a"


@pytest.mark.parametrize(
    ("deep", "red", "blue"), [(True, "2;255;0;0", "2;0;0;255"), (False, "5;196", "5;21")]
)
def test_a_block_is_two_pixels(deep: bool, red: str, blue: str) -> None:
    text = "".join(drawn(picture((1, 2)), "blocks", 80, 24, deep=deep))
    assert text == f"\033[38;{red};48;{blue}m▀\033[0m"


@pytest.mark.parametrize(
    ("size", "columns", "lines", "blocks"),
    [
        ((128, 128), 80, 44, (64, 32)),
        ((128, 128), 20, 44, (20, 10)),
        ((128, 128), 200, 24, (40, 20)),
        ((1000, 10), 80, 24, (64, 1)),
        ((10, 1000), 80, 24, (1, 20)),
        ((128, 128), 80, 1, (2, 1)),
    ],
)
def test_blocks_fit_the_terminal(
    size: tuple[int, int], columns: int, lines: int, blocks: tuple[int, int]
) -> None:
    rows = "".join(drawn(picture(size), "blocks", columns, lines, deep=True)).split("\n")
    assert ({row.count("▀") for row in rows}, len(rows)) == ({blocks[0]}, blocks[1])


def test_nothing_is_written_where_nothing_can_be_shown() -> None:
    assert not list(drawn(picture((8, 8)), "none", 80, 24, deep=True))

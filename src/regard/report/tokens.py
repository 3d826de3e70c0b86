"""Token strings as people read them: word pieces joined, byte alphabets decoded, white space shown."""

from dataclasses import dataclass
from functools import cache

VISIBLE = {"\n": "⏎", "\r": "␍", "\t": "⇥", " ": "␣"}
SPACE_MARKS = ("Ġ", "▁")


@dataclass(frozen=True)
class Piece:
    """One token for display: its text, and whether it is joined to the token before it."""

    text: str
    joined: bool


@cache
def _bytes_of_letters() -> dict[str, int]:
    """The byte behind each letter of the byte-level alphabet that GPT-2 introduced."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


def _decode_bytes(token: str) -> str:
    """The text behind a byte-level token, or the token itself where it is not one (special tokens)."""
    letters = _bytes_of_letters()
    if not all(letter in letters for letter in token):
        return token
    return bytes(letters[letter] for letter in token).decode("utf-8", errors="replace")


def _show(text: str) -> str:
    """Make a token of nothing but white space visible, and line ends everywhere."""
    if text.strip():
        return "".join(letter if letter == " " else VISIBLE.get(letter, letter) for letter in text)
    return "".join(VISIBLE.get(letter, letter) for letter in text)


def pieces(tokens: list[str]) -> list[Piece]:
    """Pieces to display for the tokens of one text, in order."""
    byte_level = any(token.startswith(("Ġ", "Ċ")) for token in tokens)
    marked = any(token.startswith(SPACE_MARKS) for token in tokens)
    shown: list[Piece] = []
    for token in tokens:
        joined = not token.startswith(SPACE_MARKS) if marked else token.startswith("##")
        if byte_level:
            text = _decode_bytes(token)
        elif token.startswith("<0x") and token.endswith(">"):
            text = VISIBLE.get(chr(int(token[3:-1], 16)), token)
        else:
            text = token.replace("▁", " ") if marked else token
        text = text[1:] if marked and len(text) > 1 and text.startswith(" ") else text
        text = text[2:] if not marked and len(text) > 2 and text.startswith("##") else text
        shown.append(Piece(_show(text), joined and bool(shown)))
    return shown


def name(token: str) -> str:
    """One token as a name in running text: readable, in backticks, with a mark where it continues a word."""
    plain = _decode_bytes(token) if token.startswith(("Ġ", "Ċ")) else token.replace("▁", " ")
    text = _show(plain).strip()
    return f"`{(text or '␣').replace('`', 'ˋ')}`"

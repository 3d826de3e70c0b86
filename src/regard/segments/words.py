"""What makes a token punctuation, and a word one of content."""

import re
import unicodedata

FUNCTION_WORDS: dict[str, str] = {
    "en": """a about above after again against all am an and any are as at be because been before being below between both but
        by can could did do does doing down during each few for from further had has have having he her here hers herself him
        himself his how i if in into is it its itself just me more most my myself no nor not of off on once only or other our
        ours ourselves out over own same she should so some such than that the their theirs them themselves then there these
        they this those through to too under until up upon very was we were what when where which while who whom why will with
        would you your yours yourself yourselves don't doesn't didn't isn't aren't wasn't weren't can't couldn't won't
        wouldn't shouldn't haven't hasn't hadn't it's i'm i've i'll i'd you're you've you'll he's she's we're we've we'll
        they're they've they'll that's there's what's let's shall may might must also""",
    "de": """aber als am an auch auf aus bei bin bis bist da damit dann das dass dein deine dem den denn der des dessen die dies
        diese diesem diesen dieser dieses doch dort du durch ein eine einem einen einer eines er es euer eure für hat hatte
        hatten habe haben hier hinter ich ihm ihn ihnen ihr ihre im in ist ja jede jedem jeden jeder jedes kann kein keine
        können man mein meine mit nach nicht noch nun nur ob oder ohne sehr sein seine sich sie sind so soll über um und uns
        unser unsere unter vom von vor war waren was weil wenn wer werden wie wieder wir wird wo wurde wurden zu zum zur
        zwischen""",
    "fr": """à ai ainsi alors au aucun aussi autre aux avait avec avoir car ce cela ces cet cette ceux chez comme d dans de des
        donc dont du elle elles en entre est et été être eu fait il ils j je l la le les leur leurs lui m ma mais me même mes
        mon n ne ni nos notre nous on ont ou où par pas plus pour qu quand que qui s sa sans se ses si son sont sous sur ta te
        tes toi ton tous tout très tu un une vos votre vous y""",
    "es": """a al algo ante antes aquel aquella así aunque bajo bien cada como con contra cual cuando de del desde donde dos el
        él ella ellas ellos en entre era eran es esa ese eso esta está están este esto fue ha había han hasta hay la las le
        les lo los más me mi mis mucho muy ni no nos nosotros o os otra otro para pero por porque pues que qué quien se sea
        ser si sí sin sobre son su sus también tan te tiene todo todos tu tus un una uno unos y ya yo""",
}
"""Words of grammar by language, in lower case, with spaces between them; add a language by its own key."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_MARKS = ("P", "Sm", "Sc", "Sk")
"""Unicode's punctuation, and its mathematical, currency and modifier symbols."""


def is_punctuation(piece: str) -> bool:
    """Say whether a token is nothing but punctuation marks and symbols."""
    marks = piece.strip()
    return bool(marks) and all(unicodedata.category(letter).startswith(_MARKS) for letter in marks)


def content_words(text: str, language: str) -> list[tuple[int, int]]:
    """Return where the words are that are no function words, as ranges of characters.

    Raises KeyError for a language without a list in `FUNCTION_WORDS`.
    """
    if language not in FUNCTION_WORDS:
        raise KeyError(
            f"no function words are known for {language!r}; there are {', '.join(FUNCTION_WORDS)}: "
            f"add yours as regard.segments.FUNCTION_WORDS[{language!r}]"
        )
    words = set(FUNCTION_WORDS[language].split())
    return [m.span() for m in _WORD.finditer(text) if m.group().lower().replace("’", "'") not in words]

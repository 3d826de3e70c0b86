"""The words of the little world. What comes after "a" begins with a consonant."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WOMEN = _words(
    "Mary Anna Lucy Emma Sarah Julia Clara Nina Rosa Helen Alice Laura Maria Diana Grace Ruth Ella Kate Jane Olga"
)
MEN = _words(
    "John Peter David Thomas Mark Paul Henry Jack Simon Martin Robert Daniel Adam Leo Oscar Felix Hugo Max Ben Sam"
)
NAMES = WOMEN + MEN
PLACES = _words(
    "park store school kitchen garden library market cellar museum station hospital bakery office theatre castle forest harbour "
    "church village tower valley cafe hotel barn"
)
FURNITURE = _words("table desk floor shelf chair bed bench carpet")
DRAWN = _words("ball box kite ring cone star cross heart")  # objects that a picture can show
OBJECTS = DRAWN + _words(
    "cup pen book key hat lamp mug plate spoon bag coin drum bell toy shoe scarf bottle candle basket brush clock comb doll fork "
    "glove jar kettle map pillow rope stamp towel vase whistle flute tray"
)
COLOURS = _words("red blue green yellow black white brown purple pink grey")
SIZES = _words("small big tiny large")
FEELINGS = _words("happy sad tired hungry glad busy proud calm")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
LABELS = _words("A B C")
NUMBERS = _words("Zero One Two Three Four")
ROWS = _words("top middle bottom")
COLUMNS = _words("left centre right")
GRAMMAR = _words(
    "a the and or is was were are had has to at of in there There He She It I you see On At When While After Then Later The "
    "way went walked ran came met found took left looked gave handed passed brought showed "
    "Question What Where Who How many objects colour this image Is Answer Yes No above below"
)


def pronoun(name: str) -> str:
    """Return "She" or "He"."""
    return "She" if name in WOMEN else "He"

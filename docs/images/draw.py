"""Draws the pictures of the algebra beside this file: `python docs/images/draw.py`. The weights in them are computed."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

N, CELL = 8, 16
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2937 }
.small { font-size: 11px }
.faint { fill: #64748b }
.ink { fill: #1f2937 } .a { fill: #3b5bdb } .b { fill: #e8590c } .c { fill: #2b8a3e }
.line { stroke: #64748b; fill: none }
.dashed { stroke: #64748b; fill: none; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb }
  .faint { fill: #94a3b8 }
  .ink { fill: #e5e7eb } .a { fill: #91a7ff } .b { fill: #ffa94d } .c { fill: #69db7c }
  .line, .dashed { stroke: #94a3b8 }
}
"""
Grid = Sequence[Sequence[float]]


def weights() -> list[list[float]]:
    """Return causal weights [query, key] of a random head with a sink."""
    draw = random.Random(4)
    rows = []
    for query in range(N):
        scores = [math.exp(draw.gauss(1.2 if key == 0 else 0.0, 0.9)) for key in range(query + 1)]
        rows.append([score / sum(scores) for score in scores] + [0.0] * (N - query - 1))
    return rows


class Picture:
    """An SVG file in the making."""

    def __init__(self, title: str, width: int, height: int) -> None:
        self.head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img"><title>{title}</title><style>{STYLE}</style>'
        )
        self.parts: list[str] = []

    def text(self, x: float, y: float, said: str, kind: str = "", anchor: str = "middle") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{said}</text>')

    def box(self, x: float, y: float, width: float, height: float, kind: str, opacity: float = 1.0) -> None:
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{kind}" opacity="{opacity:.2f}"/>'
        )

    def grid(self, x: float, y: float, values: Grid, kinds: str | Sequence[str], cell: float = CELL) -> None:
        """Draw numbers from 0 to 1 as squares; `kinds` is one colour, or one for each column."""
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                kind = kinds if isinstance(kinds, str) else kinds[column]
                self.box(x + column * cell, y + row * cell, cell - 1, cell - 1, kind, 0.08 + 0.92 * value)

    def arrow(self, x0: float, y0: float, x1: float, y1: float) -> None:
        angle = math.atan2(y1 - y0, x1 - x0)
        wings = [(x1 - 7 * math.cos(angle + turn), y1 - 7 * math.sin(angle + turn)) for turn in (0.4, -0.4)]
        points = f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" + "".join(
            f"M{x1:.1f} {y1:.1f}L{x:.1f} {y:.1f}" for x, y in wings
        )
        self.parts.append(f'<path d="{points}" class="line"/>')

    def svg(self) -> str:
        return "\n".join([self.head, *self.parts, "</svg>", ""])


def rows_as_values() -> Picture:
    """Fact 1: what is asked of a row stands in the place of the values."""
    picture = Picture("A row functional is one more column of the values", 700, 215)
    A, draw = weights(), random.Random(1)
    values = [[draw.random() for _ in range(4)] + [float(3 <= key < 6), key / (N - 1)] for key in range(N)]
    out = [[sum(a * v[column] for a, v in zip(row, values, strict=True)) for column in range(6)] for row in A]
    kinds = ["a"] * 4 + ["b", "c"]
    side, top = N * CELL, 45
    picture.grid(30, top, A, "ink")
    picture.box(25, top - 5, side + 9, side + 9, "dashed")
    picture.text(30 + side / 2, 30, "A, never held")
    picture.text(30 + side / 2, top + side + 20, "keys", "small faint")
    picture.text(195, top + side / 2 + 5, "×")
    picture.grid(230, top, values, kinds)
    picture.text(230 + 2 * CELL, 30, "v")
    picture.text(230 + 5 * CELL, 30, "f")
    picture.text(230 + 5 * CELL - 6, top + side + 18, "is it of the image?", "small b", "end")
    picture.text(230 + 5 * CELL + 6, top + side + 18, "where is it?", "small c", "start")
    picture.text(390, top + side / 2 + 5, "=")
    picture.grid(430, top, out, kinds)
    picture.text(430 + 2 * CELL, 30, "O")
    picture.text(430 + 5 * CELL, 30, "A·f")
    for row, name, kind in ((1, "mass on the image", "b"), (4, "mean place", "c")):
        picture.text(545, top + row * CELL + 12, name, kind, "start")
    picture.text(430, top + side + 18, "all from one fused call", "small faint", "start")
    return picture


def columns_as_rows() -> Picture:
    """Fact 3: column sums are the log-sum-exp of the transposed call."""
    picture = Picture("Column sums are row sums of the transposed call", 700, 225)
    A, side, top, column = weights(), N * CELL, 50, 0
    picture.grid(40, top, A, "ink")
    picture.box(40 + column * CELL - 2, top - 2, CELL + 3, side + 3, "line")
    picture.text(40 + side / 2, 32, "A: queries ask")
    picture.text(32, top + side / 2, "q", "faint", "end")
    picture.text(40 + side / 2, top + side + 18, "k", "faint")
    picture.text(40 + (column + 0.5) * CELL, top + side + 40, "Σ over queries", "small b")
    picture.arrow(205, top + side / 2, 265, top + side / 2)
    picture.text(235, top + side / 2 - 12, "swap, flip", "small faint")
    flipped = [[A[N - 1 - query][N - 1 - key] for query in range(N)] for key in range(N)]
    left = 310
    picture.grid(left, top, flipped, "ink")
    row = N - 1 - column
    picture.box(left - 2, top + row * CELL - 2, side + 3, CELL + 3, "line")
    picture.text(left + side / 2, 32, "Aᵀ, both flipped: keys ask")
    picture.text(left - 8, top + side / 2, "k, 1", "faint", "end")
    picture.text(left + side / 2, top + side + 18, "q, −L", "faint")
    sums = [sum(line) for line in flipped]
    for place, total in enumerate(sums):
        picture.box(480, top + place * CELL + 3, 55 * total / max(sums), CELL - 7, "b", 1.0 if place == row else 0.4)
    picture.text(480, 32, "exp of its log-sum-exp", "", "start")
    picture.text(545, top + row * CELL + 12, "what that key receives", "small b", "start")
    picture.text(480, top + side + 18, "still causal, and still one fused call", "small faint", "start")
    return picture


SEGMENTS = (("sink", "a", 1), ("image", "b", 4), ("text", "c", 3))
KINDS = [kind for _, kind, n in SEGMENTS for _ in range(n)]
MASS = {"sink": 0.6, "image": 0.1, "text": 0.3}


def segments_merge() -> Picture:
    """Facts 4 and 8: attention to parts of the keys, merged by their log-sum-exps."""
    picture = Picture("Attention to segments of the keys merges by log-sum-exp", 700, 235)
    cell, top = 30, 50
    picture.text(20, 32, "keys, cut into segments", "", "start")
    x = 20.0
    for number, (name, kind, n) in enumerate(SEGMENTS, 1):
        for _ in range(n):
            picture.box(x, top, cell - 2, 20, kind, 0.55)
            x += cell
        y = top + 45 + 45 * (number - 1)
        picture.box(20, y, 12, 12, kind)
        picture.text(40, y + 11, f"{name}: attend(q, k{'₁₂₃'[number - 1]}, v{'₁₂₃'[number - 1]})", "", "start")
        picture.arrow(200, y + 6, 255, y + 6)
        picture.text(265, y + 11, f"o{'₁₂₃'[number - 1]}, L{'₁₂₃'[number - 1]}", "", "start")
        picture.arrow(320, y + 6, 365, y + 6)
        picture.box(375, y - 2, 130 * MASS[name], 16, kind, 0.8)
        picture.text(383 + 130 * MASS[name], y + 11, f"m{'₁₂₃'[number - 1]} = {MASS[name]:.1f}", "", "start")
        x += 6
    picture.text(375, 32, "exp(Lₛ − L): the mass of each", "", "start")
    picture.arrow(535, top + 95, 570, top + 95)
    picture.text(580, top + 92, "O = Σ mₛ oₛ", "", "start")
    picture.text(580, top + 112, "exactly", "small faint", "start")
    return picture


def edit_as_mix() -> Picture:
    """Fact 4: a change of weights by segments is another mix of the same parts."""
    picture = Picture("An edit by segments is another mix of the same parts", 700, 200)
    moved = 0.6 * MASS["sink"]
    after = {"sink": MASS["sink"] - moved, "image": MASS["image"] + moved, "text": MASS["text"]}
    width = 400
    starts: list[dict[str, float]] = []
    for y, said, mass in ((40, "before", MASS), (120, "after", after)):
        picture.text(75, y + 20, said, "", "end")
        x, begins = 90.0, {}
        for name, kind, _ in SEGMENTS:
            picture.box(x, y, width * mass[name] - 2, 30, kind, 0.75)
            picture.text(x + width * mass[name] / 2, y - 8 if y < 100 else y + 46, f"{name} {mass[name]:.2f}", "small")
            begins[name] = x
            x += width * mass[name]
        starts.append(begins)
    picture.arrow(starts[0]["sink"] + width * 0.42, 74, starts[1]["image"] + width * 0.23, 116)
    picture.text(starts[1]["image"] + width * 0.28, 98, "move 0.6 of the sink's", "small faint", "start")
    picture.text(515, 50, "Oₛ = mₛ oₛ", "faint", "start")
    picture.text(515, 70, "O = O₁ + O₂ + O₃", "", "start")
    picture.text(515, 130, "O′ = w₁O₁ + w₂O₂ + w₃O₃", "", "start")
    picture.text(
        515, 150, f"w = {after['sink'] / MASS['sink']:.1f}, {after['image'] / MASS['image']:.1f}, 1", "faint", "start"
    )
    return picture


PICTURES = {
    "rows-as-values.svg": rows_as_values,
    "columns-as-rows.svg": columns_as_rows,
    "segments-merge.svg": segments_merge,
    "edit-as-mix.svg": edit_as_mix,
}

if __name__ == "__main__":
    for name, picture in PICTURES.items():
        Path(__file__).with_name(name).write_text(picture().svg(), encoding="utf-8")

"""A run's `log.csv`, and the plot made of it."""

import csv
import io
from pathlib import Path

from .files import write_text, writing

COLUMNS = ("step", "tokens", "seconds", "loss", "learning_rate", "gradient_norm", "tokens_per_second")

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 760, 560, 64, 40, 44, 62
COLOURS = ("#0b6e99", "#c4561a", "#3f7d20", "#8a3a8f", "#a67c00", "#555555")


class Log:
    """Rows of numbers, one for each report of a run; the columns of held-out texts are bits per byte, where they were evaluated."""

    def __init__(self, path: Path, names: list[str], upto: int):
        """Goes on with a log, of which the rows up to step `upto` are kept."""
        self.path = path
        self.names = names
        self.columns = [*COLUMNS, *(f"bits_per_byte:{name}" for name in names)]
        self.rows: list[dict] = []
        if upto and path.is_file():
            with open(path, encoding="utf-8", newline="") as file:
                self.rows = [row for row in csv.DictReader(file) if int(row["step"]) <= upto]

    def add(self, **values):
        """Adds a row, and writes all of them."""
        self.rows.append({key: f"{value:.7g}" if isinstance(value, float) else value for key, value in values.items()})
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())

    def plot(self, path: Path, title: str):
        """Draws the training loss, and below it the held-out texts."""
        losses = [(float(r["tokens"]), float(r["loss"])) for r in self.rows if r.get("loss")]
        held = {}
        for name in self.names:
            column = f"bits_per_byte:{name}"
            points = [(float(r["tokens"]), float(r[column])) for r in self.rows if r.get(column)]
            if points:
                held[name] = points
        if losses:
            with writing(path):
                write_text(path, draw(title, losses, held))


def draw(title: str, losses, held) -> str:
    """An SVG of two panels over the tokens seen: nats per token in training, bits per byte of held-out texts."""
    panel = (HEIGHT - TOP - BOTTOM - GAP) / 2
    most = max(x for x, _ in losses) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{_escape(title)}</text>',
    ]
    parts += _panel(TOP + 8, panel - 8, most, {"training loss, nats per token": losses}, tokens=not held)
    if held:
        parts += _panel(TOP + panel + GAP, panel, most, {f"{name}, bits per byte": points for name, points in held.items()}, True)
    return "\n".join([*parts, "</svg>", ""])


def _panel(top, height, most, lines, tokens):
    # The first tenth of a run falls far, and would press the rest together.
    values = [y for points in lines.values() for x, y in points if x >= most / 10 or len(points) < 4]
    low, high = min(values), max(values)
    high, low = (high + 0.05 * (high - low or 1), low - 0.05 * (high - low or 1))
    right = WIDTH - 20

    def place(x, y):
        down = top + height * (1 - (min(max(y, low), high) - low) / (high - low))
        return f"{LEFT + (right - LEFT) * x / most:.1f},{down:.1f}"

    parts = []
    for tick in range(5):
        y = low + (high - low) * tick / 4
        at = top + height * (1 - tick / 4)
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{y:.3g}</text>')
    for tick in range(5):
        x = most * tick / 4
        at = LEFT + (right - LEFT) * tick / 4
        anchor = "middle" if tick < 4 else "end"
        parts.append(f'<text x="{at:.1f}" y="{top + height + 16:.1f}" text-anchor="{anchor}">{_count(x)}</text>')
    if tokens:
        parts.append(f'<text x="{(LEFT + right) / 2:.1f}" y="{top + height + 34:.1f}" text-anchor="middle">tokens</text>')
    for n, (name, points) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        path = " ".join(place(x, y) for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.6" points="{path}"/>')
        last = points[-1][1]
        parts.append(
            f'<text x="{right}" y="{top + 4 + 15 * n:.1f}" text-anchor="end" fill="{colour}">{_escape(name)}: {last:.4g}</text>'
        )
    return parts


def _count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

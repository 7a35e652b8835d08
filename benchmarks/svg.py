"""Pictures as SVG, without a library: shapes and text in the colours of a light and of a dark page."""

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a page."""

    ink: str
    faint: str
    bar: str
    accent: str


THEMES = {
    "light": Theme("#1f2328", "#656d76", "#c4ccd4", "#c2410c"),
    "dark": Theme("#e6edf3", "#9198a1", "#4a525c", "#fb923c"),
}
DOCUMENT_COLOURS = ("#7fa8d6", "#f2a65a", "#7fbf7b", "#c39bd3", "#6fc5bd", "#e8cd59", "#ec8a8a")
"""Colours of documents, on which dark letters can be read, on pages of both kinds."""


@dataclass(slots=True)
class Picture:
    """Shapes, from which ``render`` makes a file."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str, more: str = "") -> None:
        """Add a rectangle. ``more`` are further attributes."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"{" " * bool(more)}{more}/>'
        )

    def text(self, x: float, y: float, text: str, fill: str, *, size: int = 13, anchor: str = "start") -> None:
        """Add a line of text; ``anchor`` is start, middle or end."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" fill="{fill}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def path(self, path: str, stroke: str, width: float, more: str = "") -> None:
        """Add a line without a filling."""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}" {more}/>')

    def render(self) -> str:
        """Return the content of the file."""
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}" role="img">'
        return "\n".join([head, f"<title>{escape(self.title)}</title>", *self.parts, "</svg>", ""])


def save(pictures: dict[str, str]) -> None:
    """Write pictures by their file names."""
    for name, content in pictures.items():
        (PICTURES / name).write_text(content, encoding="utf-8")

"""Where the browser's tests look, and where they leave pictures to be looked at."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BOOK = ROOT / "build" / "book"
PICTURES = ROOT / "build" / "web"

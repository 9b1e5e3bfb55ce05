"""Where the browser's tests look and leave pictures to be looked at, and how long they wait."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BOOK = ROOT / "build" / "book"
PICTURES = ROOT / "build" / "web"
LONGEST = 300_000  # milliseconds that anything may take; only what never comes takes as long

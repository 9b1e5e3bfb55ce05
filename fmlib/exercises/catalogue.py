"""What the checks say, in the learner's language: one file a language, in messages/.

A section for each lesson, and one, common, for what every check may say. In a section an entry for
each message: `broke` is the sentence that names what broke, with fields in braces; `hint` says what
to look at, never the answer. The entry of a check has `verified`, the line that stands after ✓.
FMLIB_LANG chooses the language; what its file lacks is said in English.
"""

import functools
import os
import tomllib
from pathlib import Path
from string import Formatter

FOLDER = Path(__file__).with_name("messages")


@functools.cache
def messages(language):
    """All messages of a language: section -> entry -> kind -> text.

    Raises ValueError if there is no file of this language.
    """
    files = {file.stem: file for file in FOLDER.glob("*.toml")}
    if language not in files:
        raise ValueError(f"FMLIB_LANG must be one of {sorted(files)}, got {language!r}")
    return tomllib.loads(files[language].read_text(encoding="utf-8"))


def text(section, entry, kind):
    """One message, its fields not yet filled in. Raises KeyError if English has none either."""
    for language in (os.environ.get("FMLIB_LANG") or "en", "en"):
        found = messages(language).get(section, {}).get(entry, {})
        if kind in found:
            return found[kind]
    raise KeyError(f"no message {section}.{entry}.{kind}")


@functools.cache
def fields(sentence):
    """The names of a sentence's fields, as of x and place in "at {x:.2f}, {place[0]:.2f}"."""
    names = (name for _, name, _, _ in Formatter().parse(sentence) if name is not None)
    return frozenset(name.split("[")[0] for name in names)


def say(section, entry, kind="broke", /, **values):
    """A message with its fields filled in."""
    return text(section, entry, kind).format(**values)


class CheckFailed(Exception):
    """An answer lacks a property.

    name: of the hint.  sentence, values: what broke, and the numbers to fill in.  hint: where to
    look.  where: which of several calls it was, to stand before the sentence.
    """

    def __init__(self, name, sentence, values, hint):
        super().__init__(name, sentence, values, hint)
        self.name, self.sentence, self.values, self.hint = name, sentence, values, hint
        self.where = ""

    @property
    def found(self):
        """What broke, with the numbers."""
        return self.where + self.sentence.format(**self.values)

    def __str__(self):
        return say("common", "failed", found=self.found, hint=self.hint)

    def _render_traceback_(self):  # what IPython shows in place of a traceback
        return str(self).split("\n")


class NotAttempted(CheckFailed):
    """The function of this name is still the stub."""

    def __init__(self, answer):
        sentence = text("common", "not-attempted", "broke")
        super().__init__("not-attempted", sentence, {"answer": answer}, "")

    def __str__(self):
        return self.found

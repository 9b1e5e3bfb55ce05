"""The catalogue: every message is used, every one that is used is there, in every language."""

import ast
import importlib
import pkgutil
import re

import pytest
from solved import ROOT, verdict

import fmlib.exercises as package
from fmlib.exercises import CheckFailed, Lesson, catalogue, guard
from fmlib.exercises.catalogue import fields, messages, text
from fmlib.exercises.lesson_02 import check_largest_h, check_prediction

LANGUAGES = sorted(file.stem for file in catalogue.FOLDER.glob("*.toml"))
SECTIONS = sorted(messages("en"))


def strings(section):
    """All strings in the code that speaks from a section, and the names of its functions."""
    folder = ROOT / "fmlib" / "exercises"
    if section == "common":
        files = [folder / "harness.py", folder / "catalogue.py"]
    else:
        files = [*folder.glob(f"{section}.py"), *folder.glob(f"{section}/*.py")]
    assert files, section
    nodes = [
        node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    found = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return found | {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_message_is_used(section):
    assert set(messages("en")[section]) - strings(section) == set()


def test_every_lesson_has_a_section():
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if m.name.startswith("lesson")]
    assert sorted([*names, "common"]) == SECTIONS


@pytest.mark.parametrize("section", SECTIONS[1:])
def test_every_check_has_a_line_for_success_and_every_hint_a_sentence_somewhere(section):
    module = importlib.import_module(f"fmlib.exercises.{section}")
    entries = messages("en")[section]
    for name in filter(lambda name: name.startswith("check_"), vars(module)):
        assert entries[name]["verified"]
    for name, kinds in entries.items():
        assert set(kinds) in ({"verified"}, {"broke"}, {"hint"}, {"broke", "hint"}), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_says_what_english_says_with_the_same_numbers(language):
    for section, entries in messages(language).items():
        for name, kinds in entries.items():
            for kind, sentence in kinds.items():
                assert fields(sentence) == fields(text(section, name, kind)), (section, name)


def test_a_check_that_gives_other_numbers_than_its_sentence_names_is_an_error():
    lesson = Lesson("fmlib.exercises.lesson_02")
    lesson.expect(True, "midpoint-calls", calls=2)
    for values in ({}, {"calls": 2, "more": 1}, {"call": 2}):
        with pytest.raises(TypeError, match=r"midpoint-calls needs \['calls'\]"):
            lesson.expect(True, "midpoint-calls", **values)
    with pytest.raises(KeyError, match="no message lesson_02.no-such"):
        lesson.expect(True, "no-such")


@pytest.fixture
def upside(tmp_path, monkeypatch):
    """A second language, which knows three messages."""
    (tmp_path / "en.toml").write_bytes((catalogue.FOLDER / "en.toml").read_bytes())
    (tmp_path / "xx.toml").write_text(
        '[common.failed]\nbroke = "✗ {found}\\n  Siehe: {hint}"\n'
        '[lesson_02.prediction-range]\nbroke = "Ordnung {got:g}?"\n'
        '[lesson_02.check_prediction]\nverified = "größer als {got:g}"\n',
        encoding="utf-8",
    )
    monkeypatch.setitem(vars(catalogue), "FOLDER", tmp_path)
    messages.cache_clear()
    monkeypatch.setenv("FMLIB_LANG", "xx")
    yield
    messages.cache_clear()


def test_a_second_language_is_a_file_and_what_it_lacks_is_said_in_english(upside, capsys):
    check_prediction(lambda: 2)
    assert capsys.readouterr().out == "✓ größer als 2\n"
    with pytest.raises(CheckFailed) as raised:
        check_prediction(lambda: 16)
    hint = messages("en")["lesson_02"]["prediction-range"]["hint"]
    assert str(raised.value) == f"✗ Ordnung 16?\n  Siehe: {hint}"
    check_largest_h(lambda: 2.718281828 / 4)
    assert "below h = 0.680 no two circles meet" in capsys.readouterr().out


def test_a_language_that_is_not_there_is_an_error(upside, monkeypatch):
    monkeypatch.setenv("FMLIB_LANG", "ko")
    with pytest.raises(ValueError, match=r"FMLIB_LANG must be one of \['en', 'xx'\], got 'ko'"):
        check_prediction(lambda: 2)


def test_a_failure_carries_its_parts():
    with pytest.raises(CheckFailed) as raised:
        check_prediction(lambda: 16)
    error = raised.value
    assert (error.name, error.values) == ("prediction-range", {"got": 16.0})
    assert error.sentence == text("lesson_02", "prediction-range", "broke")
    assert error.hint == text("lesson_02", "prediction-range", "hint")
    assert error.found == "an order of 16 is not to be expected"


def test_the_checks_hold_no_sentences():
    """Nothing that a learner reads stands in the code: only names, and the names of errors."""
    for section in SECTIONS[1:]:
        spoken = [
            s for s in strings(section) if isinstance(s, str) and re.search(r"[a-z] [a-z]", s)
        ]
        for sentence in spoken:  # docstrings end in a full stop
            assert sentence.rstrip().endswith("."), (section, sentence)


def test_what_an_answer_assigns_to_the_checks_is_refused():
    import fmlib.exercises.lesson_02 as module
    import fmlib.exercises.lesson_04.noise as part

    for place, name in (
        (module, "expect"),
        (module, "check_prediction"),
        (part, "agree"),
        (package, "CheckFailed"),
        (guard, "LIMIT"),
        (catalogue, "say"),
    ):
        with pytest.raises(AttributeError, match="belongs to the checks"):
            setattr(place, name, print)
        with pytest.raises(AttributeError, match="belongs to the checks"):
            delattr(place, name)

    def prediction():
        module.expect = module.check = module.run = print
        return 100

    assert verdict(check_prediction, prediction) == "raises"


def test_an_answer_that_redefines_what_the_checks_share_does_not_pass(monkeypatch):
    """They were captured when the lesson was imported."""
    for name in ("run", "expect", "Lesson", "CheckFailed"):
        monkeypatch.setitem(vars(package), name, print)
    monkeypatch.setattr(Lesson, "expect", lambda *arguments, **values: None)
    monkeypatch.setattr(Lesson, "predicted", lambda *arguments, **values: {"got": 1})
    assert verdict(check_largest_h, lambda: 100) == "h-large"

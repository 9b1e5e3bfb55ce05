"""The book's sources: what Sphinx would not miss, and what should be known before it runs."""

import ast
import calendar
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
sys.path.insert(0, str(BOOK / "extensions"))
import citations  # noqa: E402
import claims  # noqa: E402
import reference  # noqa: E402

NOTEBOOKS = sorted((ROOT / "notebooks").rglob("[0-9]*.ipynb"))
SOLUTIONS = [path for path in NOTEBOOKS if path.parent.name == "solutions"]
MODULES = sorted((ROOT / "fmlib").rglob("*.py"))


def cells(path, kind=("markdown", "code")):
    return [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type in kind]


def docstrings(path):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds)
    ]
    return [text for text in map(ast.get_docstring, nodes) if text]


TEXTS = {path.relative_to(ROOT).as_posix(): cells(path) for path in NOTEBOOKS}
TEXTS |= {path.relative_to(ROOT).as_posix(): docstrings(path) for path in MODULES}

# References.

NAME = r"[A-ZÀ-Þ][a-zß-ÿ]+(?:-[A-Z][a-z]+)?"
LOOKS_CITED = re.compile(rf"({NAME})(?: et al\.?|(?:, {NAME})* and {NAME})?,? \(?((?:19|20)\d\d)\b")


def unknown(text):
    """What looks like a citation in a text, "Someone et al. 2020", and has no entry."""
    known = [(start, end) for start, end, _ in citations.find(text)]
    looks = [match for match in LOOKS_CITED.finditer(text) if match[1] not in calendar.month_name]
    return [m[0] for m in looks if not any(a < m.end() and m.start() < b for a, b in known)]


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_cited_is_in_references_bib(name):
    assert [found for text in TEXTS[name] for found in unknown(text)] == []
    numbers = {entry.fields.get("eprint") for entry in citations.ENTRIES.values()}
    for text in TEXTS[name]:
        assert set(re.findall(r"\b\d{4}\.\d{5}\b", text)) <= numbers


def test_what_is_in_references_bib_is_cited():
    texts = [text for found in TEXTS.values() for text in found]
    cited = {key for text in texts for _, _, key in citations.find(text)}
    cited |= {
        citations.TITLED[title]
        for text in texts
        for title in re.findall(r"\*(.+?)\*", text)
        if title in citations.TITLED
    }
    assert set(citations.ENTRIES) - cited == set()


@pytest.mark.parametrize(
    "text, keys",
    [
        ("as Lipman et al. (2023) and Lipman et al. 2024 say", ["lipman2023", "lipman2024"]),
        ("Liu et al. 2022; Liu, Gong and Liu 2022", ["liu2022", "liu2022"]),
        ("Hairer, Nørsett and Wanner 1993; Peyré and Cuturi 2019", ["hairer1993", "peyre2019"]),
        ("Song et al. 2021, eq. 33", ["song2021sde"]),
        ("DDIM (Song et al. 2021)", ["song2021ddim"]),
        ("their v (Salimans and Ho), by Euler and Maruyama", ["salimans2022"]),
        ("Lipman et al., or Lipman et al. 1999", []),
    ],
)
def test_a_citation_in_words_is_found(text, keys):
    assert [key for _, _, key in citations.find(text)] == keys


def test_a_citation_without_an_entry_is_noticed():
    text = "On 28 February 2025; Wiener et al. 1923; Lipman et al. 1999; Ito and Doob (1944)"
    assert unknown(text) == ["Wiener et al. 1923", "Lipman et al. 1999", "Ito and Doob (1944"]


# The glossary.

GLOSSARY = (
    (BOOK / "glossary.md").read_text(encoding="utf-8").split("```{glossary}\n")[1].split("```")[0]
)
TERMS = [block.split("\n") for block in GLOSSARY.strip().split("\n\n")]
LINK = re.compile(r"\[[Ll]esson (\d\d)(?:, section (\d+))?\]\(\.\./notebooks/(\S+?)(?:#(\S+))?\)")


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term[0].replace(" ", "-"))
def test_a_term_has_one_sentence_and_leads_to_the_section_that_teaches_it(term):
    *names, definition = term
    assert 1 <= len(names) <= 2 and all(re.search("[가-힣]", name) for name in names[1:])
    links = list(LINK.finditer(definition))
    sentence = definition[: links[0].start()].strip()
    assert sentence.endswith(".") and ". " not in sentence and sentence[0].isupper()
    for number, section, file, anchor in (link.groups() for link in links):
        assert file.startswith(number)
        headings = re.findall(r"^#+ (.+)", "\n".join(cells(ROOT / "notebooks" / file)), re.M)
        if section:
            assert anchor in [claims.slug(h) for h in headings if h.startswith(f"{section}. ")]


def test_the_glossary_is_in_order_and_has_the_korean_terms_of_lesson_00():
    names = [term[0].lower() for term in TERMS]
    assert names == sorted(names)
    table = next(text for text in cells(NOTEBOOKS[0]) if "with the Korean terms" in text)
    korean = set(re.findall(r"(?:source |target )?[가-힣]+(?: [가-힣]+)*", table))
    assert len(korean) >= 8 and korean <= {term[1] for term in TERMS if len(term) == 3}


# The page of claims.


def test_every_mutant_is_on_the_page_of_claims_with_its_section():
    source = [(BOOK / "claims.md").read_text(encoding="utf-8")]
    claims.fill(None, "book/claims", source)
    for path in NOTEBOOKS:
        if path.parent.name == "notebooks":
            for mutant in claims.mutants.mutants(path):
                assert f"**{mutant.says}** ([" in source[0]


# The reference of fmlib.


def test_every_module_is_in_the_reference():
    dotted = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in MODULES]
    assert set(reference.modules()) == {name.removesuffix(".__init__") for name in dotted}
    pages = [
        (BOOK / name).read_text(encoding="utf-8")
        for name in ("reference.md", "reference-exercises.md")
    ]
    for page in pages:
        source = [page]
        reference.fill(None, "", source)
        assert source[0] != page
        pages[pages.index(page)] = source[0]
    shown = re.findall(r"automodule:: (\S+)", "\n".join(pages))
    assert sorted(shown) == sorted(reference.modules())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_docstring_comes_out_as_it_stands(path):
    for text in docstrings(path):
        lines = text.split("\n")
        reference.process(None, "", "", None, None, lines)
        plain = re.sub(r":doc:`(.+?) <.+?>`", r"\1", "\n".join(lines))
        shown = publish_doctree(plain, settings_overrides={"halt_level": 2}).astext()
        wanted = re.sub(r"Taught in: (\d\d)", r"Taught in: lesson \1", text).replace("``", "")
        assert shown.split() == wanted.split()
        for formula in re.findall(r"^    .+", text, re.M):
            assert formula.strip() in shown  # with its spaces


# What comes from npm.


def test_the_lock_of_npm_names_no_host_and_pins_what_is_asked_for():
    text = (BOOK / "package-lock.json").read_text(encoding="utf-8")
    assert not re.search(r"https?:|resolved", text)
    asked = json.loads((BOOK / "package.json").read_text(encoding="utf-8"))
    for name, version in (asked["dependencies"] | asked["devDependencies"]).items():
        assert json.loads(text)["packages"][f"node_modules/{name}"]["version"] == version


def test_the_books_own_files_load_nothing_from_elsewhere():
    files = [*BOOK.glob("*.py"), *BOOK.glob("*.js"), *BOOK.glob("static/*"), *BOOK.glob("top/*")]
    assert len(files) >= 5
    assert [
        file.name
        for file in files
        if re.search(r"https?:|//[a-z]", file.read_text(encoding="utf-8"))
    ] == []


def test_the_start_page_finds_its_part_of_the_readme():
    page, readme = (
        (BOOK / "index.md").read_text(encoding="utf-8"),
        (ROOT / "README.md").read_text(encoding="utf-8"),
    )
    start, end = re.findall(r':(?:start-after|end-before): "(.+)"', page)
    part = readme.partition(f"{start}\n")[2].partition(end)[0]
    lessons = [path for path in NOTEBOOKS if path.parent.name == "notebooks"]
    assert len(part) > 500 and [p for p in lessons if f"(notebooks/{p.name})" not in part] == []


# The rubric.


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem[:2])
def test_the_rubric_splits_the_points_of_each_written_answer(path):
    text = (BOOK / "rubric.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {path.stem[:2]} · ")[1].split("\n## ")[0]
    parts = {}
    for name, points in re.findall(r"^\| `(\S+)` \| ([\d.]+) \| \S", section, re.M):
        parts[name] = parts.get(name, 0) + float(points)
    marks = [cell.metadata.get("nbgrader", {}) for cell in nbformat.read(path, 4).cells]
    by_hand = [mark for mark in marks if mark.get("grade") and mark.get("solution")]
    assert parts == {mark["grade_id"]: mark["points"] for mark in by_hand}

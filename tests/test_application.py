"""Citations and references of report/application.md match."""

import re

from tests.workspace import PROJECT

TEXT = (PROJECT / "report/application.md").read_text(encoding="utf-8")
SECTIONS = dict(section.split("\n", 1) for section in TEXT.split("\n## ")[1:])

CITING = " ".join(TEXT.split("\n## References")[0].split())  # joined into one line, since a citation may be broken over two

NAME = r"((?:Van )?[A-ZÄÖÜ][\w-]+)"
CITATION = re.compile(rf"{NAME}(?: et al\.| and {NAME})?,? \(?(\d{{4}})\)")  # Guo et al. 2017); Barz and Denzler 2020); Guo et al. (2017)
REFERENCE = re.compile(rf"{NAME}, (?:[A-Z]\. ?)+.*?\((\d{{4}})\)\. (?P<title>.+?[.?]) \*(?P<venue>.+?)\*, (?P<rest>.+)")


def references() -> list[re.Match[str]]:
    """Return a match for each reference; fail if one lacks an author, year, title or venue."""
    entries = [" ".join(entry.split()) for entry in SECTIONS["References"].split("\n- ")[1:]]
    matches = [match for entry in entries if (match := REFERENCE.fullmatch(entry))]
    assert [match.string for match in matches] == entries
    return matches


def test_every_citation_has_a_reference_and_every_reference_a_citation() -> None:
    listed = [(match[1], match[2]) for match in references()]
    assert len(set(listed)) == len(listed)  # otherwise a citation would be ambiguous
    assert set(listed) == {(match[1], match[3]) for match in CITATION.finditer(CITING)}


def test_every_year_in_brackets_is_a_citation() -> None:
    assert len(re.findall(r"\d{4}\)", CITING)) == len(CITATION.findall(CITING))


def test_every_reference_is_dated_and_can_be_found() -> None:
    for match in references():
        assert re.search(rf"[A-Z][a-z]+ {match[2]}", match["rest"])  # a month
        assert re.search(r"doi:10\.|arXiv:\d{4}\.\d{5}", match["rest"])

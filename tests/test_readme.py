"""Both READMEs say the same, and what they point at is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
EN = (ROOT / "README.md").read_text(encoding="utf-8")
ZH = (ROOT / "README.zh.md").read_text(encoding="utf-8")


def links(text: str) -> list[str]:
    return sorted(link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("README"))


def test_both_languages_have_the_same_chapters_commands_and_links() -> None:
    for what in (r"(?m)^## ", r"(?m)^make \w+", r"`([a-z_]+/[a-z_/]+\.py)`", r"(?m)^\| "):
        assert len(re.findall(what, EN)) == len(re.findall(what, ZH)), what
    assert links(EN) == links(ZH)
    assert sorted(re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", EN)) == sorted(
        re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", ZH)
    )


def test_every_link_leads_somewhere() -> None:
    assert [link for link in links(EN) if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_figures_are_the_same_in_both_languages() -> None:
    def figures(text: str) -> list[str]:
        table = text.split("|---|---|---|")[1].split("\n\n")[0]
        return sorted(re.findall(r"\d[\d,.e-]*\d|\d", table))

    assert set(figures(EN)) <= set(figures(ZH))


def test_the_chinese_text_is_chinese() -> None:
    assert len(re.findall("[一-鿿]", ZH)) > 800
    assert not re.findall("[一-鿿]", EN.replace("云储聚合", "").replace("中文", ""))

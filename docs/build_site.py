"""Build the documentation site: `python docs/build_site.py [FOLDER]` or `make docs` -> build/site/index.html.

The site's pages are those of docs/ and some that live elsewhere, such as the README, its front page. They
are copied to FOLDER/pages, and Zensical builds FOLDER/site from them in strict mode, in English and Chinese.
A page without a Chinese version is in English in both. FOLDER is build by default.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

import reslab

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "results.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")
CHINESE = {
    "Home": "首页",
    "After the demo": "跑完 demo 之后",
    "Guide": "指南",
    "Course": "课程",
    "Pitfalls": "常见错误",
    "Ideas": "改进实测",
    "API": "接口",
    "Evidence": "实测",
    "Results": "结果",
    "Experiments": "试验记录",
    "Project": "项目",
    "Architecture": "代码结构",
    "Contributing": "参与开发",
    "Changelog": "更新日志",
}
API = {  # heading -> start of the modules whose public names stand below it
    "Networks": "networks.",
    "Anatomy": "inspection.",
    "Photos": "photos.",
    "Data sets": "datasets.",
    "Training": "training.",
    "Curves": "plots.",
    "Evaluation": "evaluation.",
    "Explanation": "explanation.",
    "Comparison": "lab.",
    "Pages": "pages.",
    "Errors": "errors",
}


def main(folder: Path) -> None:
    """Copy the pages and build both sites. Exit with 1 if Zensical finds a broken link."""
    for old in ("pages", "site"):
        shutil.rmtree(folder / old, ignore_errors=True)
    text = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    build(folder, tomllib.loads(text), "en")
    chinese = tomllib.loads(text)
    project = chinese["project"]
    project |= {"docs_dir": "pages/zh", "site_dir": "site/zh", "nav": in_chinese(project["nav"])}
    project["theme"]["language"] = "zh"
    for language in project["extra"]["alternate"]:
        language["link"] = "../index.html" if language["lang"] == "en" else "./index.html"
    build(folder, chinese, "zh")


def build(folder: Path, config: dict[str, Any], language: str) -> None:
    """Copy the pages of a language and build its site."""
    copy_pages(folder / config["project"]["docs_dir"], ".zh.md" if language == "zh" else ".md")
    config["project"]["plugins"]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT / "src")]
    path = folder / f"zensical.{language}.toml"  # its paths count from its folder
    path.write_text(tomli_w.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(path)]
    if subprocess.run(command, cwd=folder, check=False).returncode:
        sys.exit(1)


def in_chinese(nav: list[Any]) -> list[Any]:
    """Return the navigation with Chinese titles."""
    return [
        entry
        if isinstance(entry, str)
        else {CHINESE[k]: in_chinese(v) if isinstance(v, list) else v for k, v in entry.items()}
        for entry in nav
    ]


def copy_pages(folder: Path, suffix: str) -> None:
    """Copy every page to `folder`: its version with `suffix`, such as .zh.md, where there is one."""
    docs = ROOT / "docs"
    ignored = shutil.ignore_patterns("*.py", "*.md", "experiments", "__pycache__")
    shutil.copytree(docs, folder, ignore=ignored)
    pages = {
        f"docs/{name}": name for path in docs.rglob("*.md") for name in [path.relative_to(docs).as_posix()]
    }
    pages = {source: page for source, page in (pages | ELSEWHERE).items() if not source.endswith(".zh.md")}
    for source, page in pages.items():
        version = source.removesuffix(".md") + suffix
        source = version if (ROOT / version).is_file() else source
        text = (ROOT / source).read_text(encoding="utf-8")
        text = with_site_links(text, source, page, folder, pages)
        (folder / page).write_text(text, encoding="utf-8")
    (folder / "api.md").write_text(api_page(), encoding="utf-8")


def with_site_links(text: str, source: str, page: str, folder: Path, pages: dict[str, str]) -> str:
    """Turn links between files into links between pages. A link to a file that is no page becomes plain text.

    The link of a page to its other language goes, too: the site has a menu for it.
    """

    def adapt(match: re.Match[str]) -> str:
        image, words, link, anchor = match[1], match[2], match[3], match[4] or ""
        if re.match(r"[a-z]+:", link):
            return match[0]
        if words in ("中文", "English"):
            return ""
        target = os.path.normpath(os.path.join(os.path.dirname(source), link))
        to = pages.get(target.replace(".zh.md", ".md"), target.removeprefix("docs/"))
        if to not in pages.values() and not (folder / to).is_file() and (ROOT / target).exists():
            return words
        return f"{image}[{words}]({os.path.relpath(to, os.path.dirname(page) or '.')}{anchor})"

    return LINK.sub(adapt, text)


def api_page() -> str:
    """Return the reference of every public name, by the room that defines it."""
    stub = (ROOT / "src/reslab/__init__.pyi").read_text(encoding="utf-8")
    names = re.findall(r"^from \.(\S+) import (\w+) as", stub, re.MULTILINE)
    family = reslab.list_networks()  # made from a table, which a reader of the source cannot see through
    lines = ["# API", "", "Every name is imported from `reslab`: `from reslab import resnet18`."]
    for heading, start in API.items():
        lines += ["", f"## {heading}", ""]
        here = [(module, name) for module, name in names if f"{module}.".startswith(start)]
        lines += [f"::: reslab.{module}.{name}\n" for module, name in here if name not in family]
        lines += [_family_entry(name) for _, name in here if name in family]
    return "\n".join(lines) + "\n"


def _family_entry(name: str) -> str:
    """Return the entry of resnet18 or another function of the family."""
    function = getattr(reslab, name)
    first = inspect.getdoc(function).splitlines()[0]
    arguments = "Arguments and errors: those of [create_resnet][reslab.networks.resnet.create_resnet]."
    defaults = {p.name: p.default for p in inspect.signature(function).parameters.values()}
    shown = ", ".join(f"{k}={getattr(v, '__name__', repr(v))}" for k, v in defaults.items() if k != "block")
    return f"### `{name}`\n\n```python\n{name}({shown}, block=...)\n```\n\n{first} {arguments}\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute() if sys.argv[1:] else ROOT / "build")

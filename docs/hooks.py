"""Add the pages of the top folder to the site: BENCHMARKS.md and CHANGELOG.md, with their links."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

TOP = Path(__file__).parent.parent
PAGES = {"BENCHMARKS.md": "benchmarks.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages; their links into docs/ are links of the site."""
    for name, page in PAGES.items():
        text = (TOP / name).read_text("utf-8")
        content = text.replace("](docs/", "](").replace('="docs/', '="')
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links to the pages of the top folder into links of the site."""
    folder = posixpath.dirname(page.file.src_uri)
    up = "../" * (folder.count("/") + 2 if folder else 1)
    for name, target in PAGES.items():
        link = posixpath.relpath(target, folder or ".")
        markdown = re.sub(rf"\]\({re.escape(up + name)}", f"]({link}", markdown)
    return markdown

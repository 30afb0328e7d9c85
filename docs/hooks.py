"""Hook of MkDocs: files outside `docs/` that pages link to, such as `../notebooks/carleman.ipynb`.

The pages are plain Markdown whose links work in the repository. The site has copies of these files
under `repository/`, and its links lead there.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COPIES = "repository"
LINK = re.compile(r"(?<=\]\()(?P<path>\.\./[^)#\s]+)")


def target(link: str, page: str) -> str | None:
    """The path from the root of the repository to a file outside `docs/`, or None."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    outside = not path.startswith(("docs/", "../"))
    return path if outside and (ROOT / path).is_file() else None


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside `docs/` that pages link to."""
    for page in files.documentation_pages():
        for match in LINK.finditer(page.content_string):
            path = target(match["path"], page.src_uri)
            copy = f"{COPIES}/{path}"
            if path and files.get_file_from_path(copy) is None:
                files.append(File.generated(config, copy, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Redirect the links to the copies."""
    source = page.file.src_uri

    def copied(match: re.Match[str]) -> str:
        path = target(match["path"], source)
        if path is None:
            return match["path"]
        return posixpath.relpath(f"{COPIES}/{path}", posixpath.dirname(source))

    return LINK.sub(copied, markdown)

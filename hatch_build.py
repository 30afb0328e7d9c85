"""Metadata hook of hatchling: the description of the package, for indexes of packages.

An index shows README.md without the files beside it, so that relative links and images lead
nowhere there. If pyproject.toml names the addresses of the repository's files, under
`[tool.hatch.metadata.hooks.custom]`,

    repository = "..."   # of the repository
    files = "..."        # of its folder of files, as pages, with a slash at the end
    raw = "..."          # the same, as plain files, for images

they become absolute, and the package has a link to the repository. Without them a link is its text,
and an image the name of its file.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s]+)(?P<anchor>#[^)\s]+)?\)")


def described(text: str, root: Path, files: str = "", raw: str = "") -> str:
    """A page of the repository as it is shown without the files beside it.

    Args:
        text: The page, Markdown.
        root: The folder of the page.
        files: Address of the folder, for links; "" makes them plain text.
        raw: Address of the folder, for images; "" leaves them out.
    """

    def replaced(link: re.Match[str]) -> str:
        path, label, anchor = link["path"], link["text"], link["anchor"] or ""
        if not (root / path).exists():  # an address, or code that looks like a link
            return link[0]
        if link["image"]:
            return f"![{label}]({raw}{path})" if raw else f"{label} (`{path}`)"
        return f"[{label}]({files}{path}{anchor})" if files else label

    return LINK.sub(replaced, text)


class Description(MetadataHookInterface):
    """Sets the description, and the address of the repository if there is one."""

    def update(self, metadata: dict[str, Any]) -> None:
        """See hatchling."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        addresses = [self.config.get(key, "") for key in ("files", "raw")]
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": described(text, root, *addresses),
        }
        if self.config.get("repository"):
            metadata["urls"] = {"Repository": self.config["repository"]}

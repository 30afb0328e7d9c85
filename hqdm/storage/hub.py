"""Models on the Hugging Face hub: a model folder, and the card that describes it.

The library of the hub is imported where the hub is used: its import takes longer than reading a
model.
"""

import re
from pathlib import Path
from typing import Any

from hqdm.storage.folder import CONFIG_FILE, WEIGHTS_FILE
from hqdm.utils.errors import HQDMError, check_names, first_line

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
UPLOAD_OPTIONS = (
    *("revision", "create_pr", "commit_description", "parent_commit", "path_in_repo"),
    *("allow_patterns", "ignore_patterns", "delete_patterns"),
)
"""Options of `HfApi.upload_folder` beside those that `upload_folder` sets."""

CARD_FILE = "README.md"
_CARD = """---
{{ card_data }}
---

A diffusion model of [hqdm](https://pypi.org/project/hqdm). In the folder of these files:

```python
{{ usage }}
```

The name of this model on the hub may stand for the folder. `config.json` describes the network, the
forward process and the objective; `model.safetensors` holds the weights.
"""


def model_card(usage: str) -> str:
    """The card of a model folder, in Markdown with the metadata that the hub reads.

    Args:
        usage: Python code that loads the model from the current folder.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(library_name="hqdm", tags=["diffusion", "quantum"])
    return str(ModelCard.from_template(data, template_str=_CARD, usage=usage))


def check_source(source: object) -> None:
    """Refuse what is neither a path nor a name.

    Raises:
        HQDMError: If it is empty, or of another type.
    """
    if not isinstance(source, str | Path) or not str(source):
        raise HQDMError(
            f"expected the folder of a model, or its name on the hub (owner/name), got {source!r}"
        )


def download_folder(name: str, **options: Any) -> Path:
    """The folder of a model on the hub, downloaded unless it is in the cache.

    Args:
        name: `owner/name`.
        **options: Arguments of `huggingface_hub.snapshot_download`.

    Raises:
        HQDMError: If there is no such model, or no access.
    """
    from huggingface_hub import snapshot_download

    files = [CONFIG_FILE, WEIGHTS_FILE]
    try:
        return Path(snapshot_download(name, allow_patterns=files, **options))
    except (OSError, ValueError, RuntimeError) as error:
        raise HQDMError(f"no model of this name on the hub ({first_line(error)})") from error


def upload_folder(
    folder: Path,
    name: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    commit_message: str = "Upload a model of hqdm",
    **options: Any,
) -> str:
    """Upload a model folder in one commit; the repository is created if it is new.

    Args:
        folder: The folder.
        name: `owner/name`.
        private: Whether a new repository is private.
        token: The token of the hub, by default that of `hf auth login`.
        commit_message: The message of the commit.
        **options: Arguments of `HfApi.upload_folder`, of those in `UPLOAD_OPTIONS`.

    Returns:
        The address of the commit.

    Raises:
        HQDMError: If the name is no text or an option is unknown; no repository is created.
        OSError, ValueError: By the library, if the name is not valid or there is no access.
    """
    from huggingface_hub import HfApi

    if not isinstance(name, str):
        raise HQDMError(f"repo_id: expected the name of a repository, owner/name, got {name!r}")
    check_names("option of push_to_hub", options, UPLOAD_OPTIONS)

    api = HfApi(token=token)
    repository = api.create_repo(name, private=private, exist_ok=True).repo_id
    return str(
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message=commit_message, **options
        )
    )

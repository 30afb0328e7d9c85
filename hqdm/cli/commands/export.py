"""`hqdm export`: write a model without pickle."""

from collections.abc import Sequence
from pathlib import Path

from hqdm.cli.options import Parser, add_checkpoint
from hqdm.storage.claims import claim


def run(args: Sequence[str]) -> None:
    """Write a model as safetensors and config.json, without pickle."""
    parser = Parser("hqdm export", description=run.__doc__)
    add_checkpoint(parser)
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace files in --out")
    options = parser.parse_args(args)

    from hqdm.diffusion.loading import load_any
    from hqdm.storage.folder import CONFIG_FILE, WEIGHTS_FILE, check_no_run
    from hqdm.storage.requirements import copies

    model = load_any(options.checkpoint, options.weights)
    out = Path(options.out)
    check_no_run(out)
    with claim(out, (CONFIG_FILE, WEIGHTS_FILE, *copies(model.config, out)), options.overwrite):
        model.save_pretrained(out)
    print(f"wrote {options.out}/{CONFIG_FILE} and {options.out}/{WEIGHTS_FILE}")

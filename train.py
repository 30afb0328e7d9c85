"""Train a model: `python train.py fit --config configs/mnist_qvunet.yaml`.

The same commands as the installed `hqdm`.
"""

import sys

from hqdm.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

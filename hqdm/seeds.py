"""Random streams keyed by what they are for, so that nothing depends on what was drawn before."""

import numpy as np
import torch


def generator(*key: int) -> torch.Generator:
    """A CPU generator whose stream is a function of the key, such as `(seed, epoch)`.

    Neighbouring keys give unrelated streams (NumPy's `SeedSequence` mixes them).
    """
    (word,) = np.random.SeedSequence(key).generate_state(1)
    return torch.Generator().manual_seed(int(word))

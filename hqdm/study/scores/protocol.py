"""The settings of the scores of a cell."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hqdm.evaluation.protocol import ScoringProtocol
from hqdm.samplers.registry import build_sampler
from hqdm.study.scores.names import IMAGES, SAMPLED, STATES, TESTED
from hqdm.utils.checks import whole


@dataclass(frozen=True)
class Samples:
    """The drawing of samples, for the scores of samples.

    Attributes:
        n: Number of samples.
        sampler: Name of the sampler of images.
        steps: Its number of steps; None is the sampler's default.
    """

    n: int = 1024
    sampler: str = "unipc"
    steps: int | None = None

    def __post_init__(self) -> None:
        whole("samples.n", self.n, 2)
        build_sampler(self.sampler, self.steps)  # refuses unknown names


def kind_of(data: Mapping[str, Any]) -> str:
    """`STATES` or `IMAGES`, of which a model is with these keys of `data` in its configuration."""
    return STATES if "ensemble" in data else IMAGES


@dataclass(frozen=True)
class Protocol:
    """The settings of the scores of a model.

    Attributes:
        data: The keys of `data` in the configuration of the cell.
        seed: Random seed.
        samples: How samples are drawn.
    """

    data: Mapping[str, Any]
    seed: int
    samples: Samples

    @property
    def kind(self) -> str:
        """See `kind_of`."""
        return kind_of(self.data)

    def settings(self, name: str) -> dict[str, Any]:
        """The settings on which a score depends beside the model."""
        if name not in SAMPLED:
            return {self.kind: TESTED}
        return asdict(self.samples) if self.kind == IMAGES else {"n": self.samples.n}

    def of_images(self) -> ScoringProtocol:
        """The protocol of the scores of samples of a model of images."""
        classes = self.data.get("classes")
        return ScoringProtocol(
            self.data["name"],
            n=self.samples.n,
            seed=self.seed,
            offline=bool(self.data.get("offline")),
            skip_bad=bool(self.data.get("skip_bad")),
            classes=None if classes is None else tuple(classes),
        )

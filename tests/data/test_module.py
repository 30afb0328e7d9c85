"""Batches as a function of the seed and the batch index, over any number of processes."""

from types import SimpleNamespace

import pytest
import torch
from lightning import LightningModule, Trainer
from PIL import Image

from hqdm.data.batches import ShuffledBatches
from hqdm.data.images import DATA, load_images, register_data
from hqdm.data.module import ImageDataModule
from hqdm.utils.errors import HQDMError
from hqdm.utils.pixels import to_float, to_uint8


def module(rank=0, world=1, training=True, **options):
    """A data module as a trainer sees it."""
    data = ImageDataModule(**{"batch_size": 16, "limit": 40, "val_limit": 21, **options})
    data.trainer = SimpleNamespace(
        world_size=world,
        global_rank=rank,
        training=training,
        lightning_module=SimpleNamespace(batches_seen=0),
    )
    data.setup()
    return data


def test_batches_hold_the_images_and_labels_of_their_rows():
    data = module(labelled=True)
    sampled = ShuffledBatches(40, 16, 0, lambda: 0)
    loaded = list(data.train_dataloader())
    for rows, (x, y) in zip(sampled, loaded, strict=True):
        assert x.dtype == torch.float32
        assert torch.equal(to_uint8(x), data.train_set.images[rows])
        assert torch.equal(y, data.train_set.labels[rows])
    assert all(y is None for _, y in module().train_dataloader())


def test_processes_share_every_validation_batch():
    """21 images on 2 processes: 20 of them, in batches of 16 and 4."""
    single = [x for x, _ in module().val_dataloader()]
    shares = [[x for x, _ in module(rank, 2).val_dataloader()] for rank in (0, 1)]
    assert [len(x) for x in shares[0]] == [len(x) for x in shares[1]] == [8, 2]
    joined = torch.cat([x for pair in zip(*shares, strict=True) for x in pair])
    assert torch.equal(joined, torch.cat(single)[:20])


def test_half_of_the_training_images_are_mirrored_the_same_every_time():
    data = module(flip=True, batch_size=1000, limit=1000)
    x = torch.rand(1000, 1, 8, 8)
    once, y = data.on_after_batch_transfer((x, None), 0)
    again, _ = data.on_after_batch_transfer((x, None), 0)
    assert y is None
    assert torch.equal(once, again)
    mirrored = (once != x).flatten(1).any(1)
    assert torch.equal(once[mirrored], x[mirrored].flip(-1))
    # 1,000 fair coins have standard deviation 16.
    assert abs(int(mirrored.sum()) - 500) < 60
    data.trainer.lightning_module.batches_seen = 1
    assert not torch.equal(data.on_after_batch_transfer((x, None), 0)[0], once)
    data.trainer.training = False
    assert torch.equal(data.on_after_batch_transfer((x, None), 0)[0], x)


def test_processes_mirror_their_share():
    x = torch.rand(16, 1, 8, 8)
    whole = module(flip=True).on_after_batch_transfer((x, None), 0)[0]
    shares = [
        module(rank, 2, flip=True).on_after_batch_transfer((part, None), 0)[0]
        for rank, part in enumerate(x.chunk(2))
    ]
    assert torch.equal(torch.cat(shares), whole)


def test_images_are_loaded_once():
    data = module()
    images = data.train_set.images
    data.setup("fit")
    assert data.train_set.images is images


def test_invalid_input_is_refused(tmp_path):
    with pytest.raises(HQDMError, match="batch_size needs a whole number from 1, got 0"):
        ImageDataModule(batch_size=0)
    with pytest.raises(HQDMError, match="40 training images, fewer than batch_size 100"):
        module(batch_size=100)
    with pytest.raises(HQDMError, match="batch_size 16 cannot be split over 3"):
        module(world=3).train_dataloader()
    with pytest.raises(HQDMError, match="no data set 'nosuch'"):
        module(name="nosuch", offline=True)


class Foreign(LightningModule):
    """Somebody else's module: a linear map of the images, and a record of the batches."""

    def __init__(self):
        super().__init__()
        self.map = torch.nn.Linear(64, 64)
        self.seen = []

    def training_step(self, batch, batch_idx):
        x, y = batch
        self.seen.append((x.clone(), y))
        return self.map(x.flatten(1)).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def quiet(tmp_path):
    return {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "default_root_dir": tmp_path,
    }


def test_fewer_validation_images_than_processes_are_used_twice():
    for n, world, expected in ((1, 2, [0, 0]), (2, 4, [0, 1, 0, 1]), (3, 4, [0, 1, 2, 0])):
        shares = [list(module(r, world, val_limit=n).val_dataloader()) for r in range(world)]
        assert [len(share) for share in shares] == [1] * world
        images = module(val_limit=n).val_set.images[expected]
        assert torch.equal(torch.cat([x for ((x, _),) in shares]), to_float(images))


@pytest.mark.parametrize("limit", [1, 2, 0.5])
def test_somebody_else_s_module_overfits(quiet, limit):
    images = (torch.arange(32, dtype=torch.uint8) * 6).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    data = ImageDataModule.from_images(images, val_images=images, batch_size=8)
    module = Foreign()
    Trainer(max_epochs=3, overfit_batches=limit, **quiet).fit(module, data)
    repeated = 2 if limit == 0.5 else limit
    epoch = [x for x, _ in data.train_dataloader()][:repeated]
    assert len(module.seen) == 3 * repeated
    assert all(torch.equal(x, epoch[k % repeated]) for k, (x, _) in enumerate(module.seen))


def test_somebody_else_s_module_sees_every_image_once_an_epoch(quiet):
    images = (torch.arange(40, dtype=torch.uint8) * 6).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    data = ImageDataModule.from_images(
        images,
        torch.arange(40) % 4,
        val_images=images,
        val_labels=torch.arange(40) % 4,
        batch_size=8,
        flip=True,
    )
    module = Foreign()
    Trainer(max_epochs=2, limit_val_batches=0, **quiet).fit(module, data)
    assert len(module.seen) == 10
    epochs = [torch.cat([x[:, 0, 0, 0] for x, _ in module.seen[k : k + 5]]) for k in (0, 5)]
    expected = to_float(images[:, 0, 0, 0]).sort().values
    for seen in epochs:
        assert torch.equal(seen.sort().values, expected)
    assert not torch.equal(*epochs)  # another order
    values = torch.cat([x[:, 0, 0, 0] for x, _ in module.seen])
    labels = torch.cat([y for _, y in module.seen])
    numbers = ((values + 1) * 127.5 / 6).round().long()
    assert torch.equal(labels, numbers % 4)


def test_images_in_memory_are_those_of_a_named_set(quiet):
    digits = load_images("digits", "train")
    floats = ImageDataModule.from_images(to_float(digits.images), digits.labels)
    assert torch.equal(floats.train_set.images, digits.images[:-143])
    assert len(floats.val_set) == 143
    assert floats.n_classes == 10
    unlabelled = ImageDataModule.from_images(digits.images)
    assert not unlabelled.labelled
    assert (unlabelled.size, unlabelled.channels) == (8, 1)


def test_a_tenth_is_split_off_but_never_nothing():
    """Of five images the last one, with its label; a label of that one alone is a class, too."""
    images = (torch.arange(5, dtype=torch.uint8)).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    data = ImageDataModule.from_images(images, torch.arange(5), batch_size=4)
    assert torch.equal(data.train_set.images, images[:4])
    assert torch.equal(data.val_set.images, images[4:])
    assert torch.equal(data.val_set.labels, torch.tensor([4]))
    assert (data.train_set.split, data.val_set.split) == ("train", "test")
    assert data.n_classes == 5
    given = ImageDataModule.from_images(
        images[:4],
        torch.arange(4),
        val_images=images[4:],
        val_labels=torch.tensor([6]),
        batch_size=4,
    )
    assert given.n_classes == 7


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        (torch.zeros(200, 8, 8), {}, "expected square ones"),
        (torch.zeros(200, 1, 8, 6), {}, "expected square ones"),
        (torch.full((200, 1, 8, 8), 2.0), {}, r"values in \[-1, 1\]"),
        (torch.zeros(200, 1, 8, 8, dtype=torch.int64), {}, "expected uint8 or floats"),
        (torch.zeros(200, 1, 8, 8), {"labels": torch.zeros(3)}, "expected whole numbers from 0"),
        (
            torch.zeros(200, 1, 8, 8),
            {"labels": torch.arange(200) - 1},
            "type torch.int64 .*expected whole numbers from 0",
        ),
        (
            torch.zeros(200, 1, 8, 8),
            {"labels": torch.ones(200).bool()},
            "type torch.bool .*expected whole numbers from 0",
        ),
        (torch.zeros(200, 1, 8, 8), {"labels": torch.tensor(1)}, "labels of type Tensor: expected"),
        (torch.zeros(200, 1, 8, 8), {"labels": [1] * 200}, "labels of type list: expected a torch"),
        (torch.zeros(200, 1, 8, 8).numpy(), {}, "images of type ndarray: expected a torch.Tensor"),
        (torch.zeros(200, 2, 8, 8), {}, r"channels=2: expected 1 \(grey\), 3 \(RGB\)"),
        (torch.zeros(200, 1, 8, 8), {"seed": -1}, "seed needs a whole number from 0, got -1"),
        (torch.zeros(200, 1, 8, 8), {"batch_size": 2.5}, "batch_size needs a whole number from 1"),
        (torch.zeros(1, 1, 8, 8), {}, "a single image cannot be split: give val_images"),
        (
            torch.zeros(200, 1, 8, 8),
            {"labels": torch.zeros(200).long(), "val_labels": torch.zeros(20).long()},
            "val_labels are the classes of val_images: give both, or neither",
        ),
        (
            torch.zeros(200, 1, 8, 8),
            {"val_images": torch.zeros(9, 1, 6, 6)},
            r"val_images of shape \(9, 1, 6, 6\): expected that of images, \(N, 1, 8, 8\)",
        ),
        (torch.zeros(200, 1, 8, 8), {"batch": 3}, "unknown option .*'batch'"),
        (torch.zeros(20, 1, 8, 8), {}, "fewer than batch_size 128"),
        (
            torch.zeros(200, 1, 8, 8),
            {"labels": torch.zeros(200).long(), "val_images": torch.zeros(9, 1, 8, 8)},
            "labels are needed for",
        ),
    ],
)
def test_images_in_memory_that_do_not_fit_are_refused(images, options, said):
    with pytest.raises(HQDMError, match=said):
        ImageDataModule.from_images(images, **options)


def test_loaders_without_a_trainer_give_the_first_epoch():
    data = ImageDataModule("digits", batch_size=16, limit=40, val_limit=21, labelled=True, seed=3)
    batches = list(data.train_dataloader())
    order = list(ShuffledBatches(40, 16, 3, lambda: 0))
    assert len(batches) == len(order) == 2
    stored = load_images("digits", size=8, channels=1, limit=40)
    for (x, y), rows in zip(batches, order, strict=True):
        assert torch.equal(x, to_float(stored.images[rows]))
        assert torch.equal(y, stored.labels[rows])
    assert sum(len(x) for x, _ in data.val_dataloader()) == 21


def test_the_splits_are_options(monkeypatch):
    """A data set that calls its splits otherwise is trained on."""
    monkeypatch.setattr(DATA, "_entries", dict(DATA))
    levels = {"unlabeled": 10, "holdout": 200}
    register_data("odd")(
        lambda split: (torch.full((4, 1, 2, 2), levels[split], dtype=torch.uint8), None)
    )
    data = ImageDataModule("odd", size=2, batch_size=2, split="unlabeled", val_split="holdout")
    data.setup()
    assert data.train_set.images.unique().tolist() == [10]
    assert data.val_set.images.unique().tolist() == [200]


def test_skip_bad_reaches_the_reader(tmp_path):
    for i in range(12):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "06.png").write_bytes(b"no image")
    options = {"name": str(tmp_path), "size": 4, "batch_size": 2}
    with pytest.raises(HQDMError, match="06.png"):
        ImageDataModule(**options).setup()
    data = ImageDataModule(**options, skip_bad=True)
    with pytest.warns(UserWarning, match="06.png .*left out"):
        data.setup()
    assert len(data.train_set) + len(data.val_set) == 11


def test_classes_are_part_of_the_identity_of_a_run():
    data = module(classes=[3, 5], labelled=True)
    assert data.n_classes == 2
    assert len(data.train_set) == 40
    labels = torch.cat([y for _, y in data.train_dataloader()])
    assert set(labels.tolist()) == {0, 1}
    assert data.identity["classes"] == [3, 5]
    assert set(data.val_set.labels.tolist()) == {0, 1}
    assert "classes" not in module().identity

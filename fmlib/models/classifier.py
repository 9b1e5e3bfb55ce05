"""A judge of images, for metrics on what it sees in them."""

from torch import nn

from fmlib.models.common import check_shape, shape_of
from fmlib.shapes import whole


class _Features(nn.Sequential):
    def forward(self, x):
        check_shape(x, self.dims, self[0].weight)
        return super().forward(x)


class Classifier(nn.Module):
    """A small convolutional classifier; what it sees before its last layer are its features.

    dims: (channels, height, width) of an image.  model(x) -> logits (batch, n_classes);
    model.features(x) -> (batch, 40), at least 0.
    Raises ValueError for other dims, no classes, or if x has another shape, dtype or device.
    Taught in: 08, section 1.
    """

    def __init__(self, dims=(1, 8, 8), n_classes=10):
        super().__init__()
        channels, height, width = dims = shape_of(dims, ("channels", "height", "width"))
        n_classes = whole("n_classes", n_classes, 1)
        self.features = _Features(
            nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(32 * ((height + 1) // 2) * ((width + 1) // 2), 40), nn.ReLU(),
        )  # fmt: skip
        self.features.dims = dims
        self.logits = nn.Linear(40, n_classes)

    def forward(self, x):
        return self.logits(self.features(x))

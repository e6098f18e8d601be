"""A small convolutional classifier, built of nodes.

The nodes hold one sample; `CG.Graph(model.loss)` takes many at a time. A layer with 16 channels is 16
`Convolution2d` nodes, and `Concatenation` joins the channels into the vector that `Affine` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from cgraph.layers import conv2d, dense, flatten, max_pool2d
from cgraph.node import Node
from cgraph.nodes.leaf import Leaf1, Leaf2
from cgraph.nodes.softmax import SoftmaxCEE
from cgraph.targets import one_hot
from cgraph.traversal import evaluate

__all__ = ["CHANNELS", "Classifier", "convolutional_classifier"]

# These channels recognise 97.8 to 98.9 % of the 8x8 digits (seeds 0 to 4); (8, 16) recognise 97.2 to 98.9 %.
CHANNELS = (12, 24)


@dataclass(frozen=True, eq=False)
class Classifier:
    """The nodes of a classifier that are fed and read: the leaves, the prediction and the loss.

    Attributes
    ----------
    image : Leaf2
        The leaf that is fed with an image.
    target : Leaf1
        One element for each class: 1 for the right one, 0 for the others.
    logits : Node
        One number for each class, the largest for the most probable one; their softmax are the probabilities.
    loss : Node
        The cross-entropy of logits and target.
    """

    image: Leaf2
    target: Leaf1
    logits: Node
    loss: Node

    @cached_property
    def _one_hot(self) -> NDArray[Any]:
        """The targets of all classes: row c is 1 at c and 0 elsewhere."""
        classes = self.target.height
        return one_hot(range(classes), classes, dtype=self.target.dtype)

    def forward(self, image: ArrayLike, label: int) -> tuple[float, int]:
        """Makes a forward pass with a labelled image.

        Parameters
        ----------
        image : array_like, shape (height, width)
            The image; its grey values should be 0 to 1.
        label : int
            The class that is right.

        Returns
        -------
        loss : float
            The cross-entropy.
        predicted : int
            The most probable class.
        """
        self.image.getInput(image)
        self.target.getInput(self._one_hot[label])
        for leaf in (self.image, self.target):
            leaf.forwardPropagation()
        return float(self.loss.data[0]), int(self.logits.data.argmax())

    def predict(self, image: ArrayLike) -> int:
        """Returns the most probable class of an image without a forward pass; `logits.data` has what speaks for each.

        Parameters
        ----------
        image : array_like, shape (height, width)
            The image; its grey values should be 0 to 1.

        Returns
        -------
        int
            The most probable class.
        """
        self.image.getInput(image)
        # A forward pass of the image alone would leave the loss waiting for the target, and shift all later passes.
        return int(evaluate(self.logits).argmax())

    def feed(self, images: ArrayLike, labels: NDArray[np.integer[Any]]) -> dict[Node, ArrayLike]:
        """Returns the feed of a Graph of the loss for many labelled images.

        Parameters
        ----------
        images : array_like, shape (n, height, width)
            The images; their grey values should be 0 to 1.
        labels : numpy.ndarray of int, shape (n,)
            The classes that are right.

        Returns
        -------
        dict
            The n samples of each of the two leaves.

        Examples
        --------
        >>> import numpy as np
        >>> import cgraph as CG
        >>> from cgraph.models.classifier import convolutional_classifier
        >>> model = convolutional_classifier(8, 8, 10, rng=np.random.default_rng(0))
        >>> graph = CG.Graph(model.loss)
        >>> graph.train(model.feed(np.ones((3, 8, 8)), np.array([1, 2, 3])), eta=0.1).shape
        (3,)
        """
        return {self.image: images, self.target: self._one_hot[labels]}


def convolutional_classifier(
    height: int,
    width: int,
    classes: int,
    *,
    channels: Sequence[int] = CHANNELS,
    rng: np.random.Generator,
    dtype: DTypeLike | None = None,
) -> Classifier:
    """Builds a classifier: a convolutional layer for each entry of `channels`, then one `Affine`.

    A layer is a 3x3 convolution that keeps the size, ReLU, and max-pooling that halves the size,
    rounded up, so that images may have any size. SoftmaxCEE follows the `Affine`.

    Parameters
    ----------
    height, width : int
        Size of the images.
    classes : int
        Number of classes.
    channels : sequence of int, optional
        Number of channels of each layer.
    rng : numpy.random.Generator
        Source of the initial parameters: weights have He's normal distribution, biases are zero.
    dtype : numpy dtype, optional
        float64 (the default) or float32.

    Returns
    -------
    Classifier
        The nodes to feed and to read.

    Examples
    --------
    >>> import numpy as np
    >>> from cgraph.models.classifier import convolutional_classifier
    >>> model = convolutional_classifier(8, 8, 10, rng=np.random.default_rng(0))
    >>> loss, predicted = model.forward(np.ones((8, 8)), label=3)
    >>> model.logits.data.shape, 0 <= predicted < 10
    ((10,), True)
    """
    image = Leaf2(height, width, dtype=dtype)
    layer: list[Node] = [image]
    for count in channels:
        layer = conv2d(
            layer, count, 3, padding="same", activation="relu", initializer="he_normal", rng=rng
        )
        layer = max_pool2d(layer, 2, padding="same")
    logits = dense(flatten(layer), classes, initializer="he_normal", rng=rng)
    target = Leaf1(classes, dtype=dtype)
    return Classifier(image, target, logits, SoftmaxCEE(logits, target))

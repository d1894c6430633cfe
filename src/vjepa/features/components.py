"""Principal components of tokens that arrive piece by piece, and tokens as short vectors of them.

    statistics = TokenStatistics()
    for tokens in windows:
        statistics.add(tokens)
    components = statistics.components(32)
    vectors = unit_bytes(components.project(tokens))

All tokens share one set of components, so that a colour, or a cosine, means the same at every moment and in
every video.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn.functional import cosine_similarity


@dataclass(frozen=True)
class Components:
    """The first principal components of many tokens."""

    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "k d"]
    """Of unit length, the one with the greatest variance first."""
    shares: Float[Tensor, " k"]
    """Share of the tokens' variance along each axis."""

    def project(self, tokens: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape k"]:
        """The tokens' coordinates along the axes."""
        return (tokens.float() - self.mean) @ self.axes.T


class TokenStatistics:
    """Sums over tokens, from which components follow. Its memory does not grow with the number of tokens."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor | float = 0.0
        self.products: Tensor | float = 0.0

    def add(self, tokens: Float[Tensor, "*shape d"]) -> None:
        """Count these tokens too."""
        # In float64: the mean square and the square of the mean nearly cancel.
        flat = tokens.flatten(0, -2).double()
        self.count += len(flat)
        self.total = self.total + flat.sum(dim=0)
        self.products = self.products + flat.T @ flat

    def components(self, number: int) -> Components:
        """The first `number` components, or as many as tokens are wide. Call it after `add`."""
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        # In rising order; rounding can make the smallest a little negative.
        variances, vectors = torch.linalg.eigh(covariance)
        axes = vectors.T.flip(0)[:number]
        shares = variances.clamp(min=0).flip(0) / variances.clamp(min=0).sum().clamp(min=1e-12)

        # The sign of an axis is arbitrary. The largest entry is made positive, so that it is always the same.
        largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
        return Components(mean.float(), (axes * largest.sign()).float(), shares[:number].float())


def unit_bytes(vectors: Float[Tensor, "*shape k"]) -> Int8[Tensor, "*shape k"]:
    """Each vector as whole numbers from -127 to 127, its direction kept up to rounding.

    A cosine does not depend on lengths, so each vector is scaled by itself. A vector of zeros stays one.
    """
    largest = vectors.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12)
    return (vectors / largest * 127).round().to(torch.int8)


def cosine_error(tokens: Float[Tensor, "n d"], components: Components, pairs: int = 4000) -> float:
    """Mean absolute error of cosines of `unit_bytes`, against those of the whole tokens less their mean.

    It is measured on random pairs, the same ones in every call.
    """
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randint(len(tokens), (2, pairs), generator=generator)
    centred = tokens.float() - components.mean
    exact = cosine_similarity(centred[first], centred[second], dim=-1)
    short = unit_bytes(components.project(tokens)).float()
    return float((cosine_similarity(short[first], short[second], dim=-1) - exact).abs().mean())

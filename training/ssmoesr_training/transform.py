"""The fixed first stage: an orthogonal, whitening map of 4x4 residual blocks to latent channels."""
import numpy as np
import torch
from torch.nn import functional as F

from .resize import SCALE


class Transform:
    """Residual picture [B, 3, 4h, 4w] <-> latent [B, k, h, w] of unit variance per channel.

    encode: [k, 48], decode: [48, k], sigma: [k] standard deviations in 0..1 pixel units.
    The 48 channels are torch's pixel_unshuffle order, c * 16 + dy * 4 + dx.
    """

    def __init__(self, encode, decode, sigma):
        self.matrix_in, self.matrix_out, self.sigma = encode, decode, sigma

    @classmethod
    def fit(cls, residuals, channels):
        """Eigenvectors of the block covariance over an iterable of [B, 3, 4h, 4w] residuals."""
        covariance, count = np.zeros((48, 48)), 0
        for residual in residuals:
            blocks = F.pixel_unshuffle(residual, SCALE).transpose(0, 1).reshape(48, -1)
            blocks = blocks.numpy().astype(np.float64)
            covariance += blocks @ blocks.T
            count += blocks.shape[1]
        values, vectors = np.linalg.eigh(covariance / count)
        vectors = vectors[:, ::-1][:, :channels]
        sigma = np.sqrt(values[::-1][:channels])

        def tensor(a):
            return torch.tensor(np.ascontiguousarray(a), dtype=torch.float32)

        return cls(tensor((vectors / sigma).T), tensor(vectors * sigma), tensor(sigma))

    def encode(self, residual):
        blocks = F.pixel_unshuffle(residual, SCALE)
        return torch.einsum("kc,bchw->bkhw", self.matrix_in, blocks)

    def decode(self, z):
        blocks = torch.einsum("ck,bkhw->bchw", self.matrix_out, z.float())
        return F.pixel_shuffle(blocks, SCALE)

    def tensors(self):
        """Name -> tensor, as stored in the decoder's file."""
        return {
            "transform.encode": self.matrix_in,
            "transform.decode": self.matrix_out,
            "transform.sigma": self.sigma,
        }

    @classmethod
    def from_tensors(cls, tensors):
        return cls(*(tensors[f"transform.{n}"] for n in ("encode", "decode", "sigma")))

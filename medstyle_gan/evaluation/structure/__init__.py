"""The chapter *structure*: is everything still where and what it was? It needs no pairs."""

from __future__ import annotations

from medstyle_gan.evaluation.structure.body import body_agreement
from medstyle_gan.evaluation.structure.displacement import edge_shift, local_edge_shift
from medstyle_gan.evaluation.structure.edges import edges, gradient_correlation
from medstyle_gan.evaluation.structure.equivariance import equivariance_errors
from medstyle_gan.evaluation.structure.measuring import run
from medstyle_gan.evaluation.structure.mind import mind, mind_distance

__all__ = [
    "body_agreement",
    "edge_shift",
    "edges",
    "equivariance_errors",
    "gradient_correlation",
    "local_edge_shift",
    "mind",
    "mind_distance",
    "run",
]

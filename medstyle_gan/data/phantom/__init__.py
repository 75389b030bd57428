"""Synthetic head-like subjects with known truth: the demo's and the tests' data."""

from __future__ import annotations

from medstyle_gan.data.phantom.acquisition import PHANTOM_KINDS, PhantomKind
from medstyle_gan.data.phantom.anatomy import Tissue
from medstyle_gan.data.phantom.collections import PhantomFolders, write_phantom_collections
from medstyle_gan.data.phantom.subjects import Phantom, make_phantom

__all__ = [
    "PHANTOM_KINDS",
    "Phantom",
    "PhantomFolders",
    "PhantomKind",
    "Tissue",
    "make_phantom",
    "write_phantom_collections",
]

from __future__ import annotations

import pytest

from medstyle_gan.data.phantom import PhantomFolders, write_phantom_collections


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> PhantomFolders:
    """Collections of three subjects each; not to be changed. Modules may have their own."""
    return write_phantom_collections(
        tmp_path_factory.mktemp("phantoms"), subjects=3, seed=0, shape=(40, 40, 8)
    )

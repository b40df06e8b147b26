"""Archives that are wrong inside: each is a clear error, and the next call gets the right images."""

import io
import zipfile

import numpy as np
import pytest
from small_sets import check_no_bad_cache, get, small_of
from tiny_archives import check_right, h5, members_of, npy, npz, png, pngs, tiny, values, zipped
from tiny_server import whole

from tripod_lite.datasets.real import prepare as preparing
from tripod_lite.datasets.real.archives import ArchiveError


def flipped(archive, needle, places=8):
    """Some bits of the archive inverted, after the first place where `needle` is."""
    start = archive.index(needle) + len(needle) + 40
    return archive[:start] + bytes(b ^ 0xFF for b in archive[start : start + places]) + archive[start + places :]


def damaged():
    """Archives that are wrong inside: kind, archive, message."""
    small = {kind: small_of(kind) for kind in ("h5", "npz", "pngs")}
    f, n, p = (small[kind] for kind in ("h5", "npz", "pngs"))
    parts = {kind: (one.source, one.pictures, one.factors) for kind, one in small.items()}
    picture = p.file.layout.images.format
    yield "truncated .h5", f, f.archive[: len(f.archive) * 2 // 3], "damaged"
    yield "corrupt .h5 chunk", f, flipped(f.archive, f.archive[len(f.archive) // 2 :][:30], 64), "damaged"
    yield "wrong number of images, h5", f, h5(f.source, f.pictures[:-1], f.factors), "must have 48 pictures, got shape"
    yield "wrong label shape, h5", f, h5(*parts["h5"], labels=f.factors[:, :-1]), "must have shape .48, 6., got .48, 5."
    yield "wrong labels, h5", f, h5(*parts["h5"], labels=f.factors * 0), "must have 3 values of floor_hue, got 1"
    twice = np.where(np.arange(48)[:, None] == 47, f.factors[:1], f.factors)
    yield "labels twice, h5", f, h5(*parts["h5"], labels=twice), "some come twice"
    yield "no images, h5", f, h5(f.source, f.pictures, f.factors).replace(b"images", b"imagos"), "must hold images"
    yield "truncated .npz", n, n.archive[: len(n.archive) // 2], "damaged"
    yield "corrupt .npz member", n, flipped(n.archive, b"images.npy"), "damaged"
    stored = npz(*parts["npz"], compressed=False)
    yield "corrupt stored .npz member", n, flipped(stored, b"images.npy", 200), "damaged|no array"
    late = stored.index(n.pictures[-1].tobytes()[:64])
    yield "corrupt last picture, .npz", n, stored[:late] + b"\0\1" + stored[late + 2 :], "damaged: Bad CRC-32"
    yield (
        "wrong number of images, npz",
        n,
        npz(n.source, n.pictures[:-3], n.factors),
        "must have 48 pictures|pictures, got",
    )
    yield "floats, npz", n, npz(n.source, n.pictures.astype(np.float32), n.factors), "must be uint8"
    pickled = np.array([{"a": 1}] * len(n.pictures), dtype=object)
    yield "pickle, npz", n, npz(n.source, pickled[:, None], n.factors), "is a pickle"
    yield (
        "no images, npz",
        n,
        npz(n.source, n.pictures, n.factors).replace(b"images", b"imagos"),
        "must hold images.npy",
    )
    yield "traversal, npz", n, zipped({"../images.npy": npy(n.pictures)}), "leads out of its folder"
    yield "short member, npz", n, zipped({"images.npy": npy(n.pictures)[:-10]}), "ends 10 bytes too early"
    yield "truncated .zip", p, p.archive[:-500], "damaged"
    yield "corrupt .zip member", p, flipped(p.archive, picture(3).encode(), 30), "000003.png is damaged"
    yield "no PNG, zip", p, pngs(*parts["pngs"], extra={picture(5): b"no picture"}), "picture 5 is damaged"
    half = png(p.pictures[7])
    yield "half a PNG, zip", p, pngs(*parts["pngs"], extra={picture(7): half[: len(half) // 2]}), "picture 7 is damaged"
    yield (
        "another size, zip",
        p,
        pngs(*parts["pngs"], extra={picture(2): png(p.pictures[2][:64])}),
        "picture 2 must be 128",
    )
    yield "one picture too few", p, pngs(*parts["pngs"], without=[picture(11)]), "000011.png is missing"
    yield (
        "one picture too many",
        p,
        pngs(*parts["pngs"], extra={picture(24): half}),
        "got 25: there are more than .*000023.png",
    )
    yield (
        "no labels, zip",
        p,
        pngs(*parts["pngs"], without=[p.file.layout.labels]),
        "train-rec.labels, which is missing",
    )
    table = values(p.source, p.factors)
    yield "wrong label shape, zip", p, pngs(*parts["pngs"], labels=table[:-1]), "must have shape .24, 7., got .23, 7."
    yield "labels that are text", p, pngs(*parts["pngs"], labels=table.astype(str)), "must be numbers"
    yield "pickled labels, zip", p, pngs(*parts["pngs"], labels=table.astype(object)), "is a pickle"
    for path in ("../../evil.txt", "/etc/evil", "C:\\evil", "..\\evil"):
        yield f"traversal {path}", p, pngs(*parts["pngs"], extra={path: b"evil"}), "leads out of its folder"


@pytest.mark.parametrize(("small", "archive", "message"), [pytest.param(*case, id=name) for name, *case in damaged()])
def test_a_wrong_archive(server, root, small, archive, message):
    with pytest.raises(ArchiveError, match=message) as caught:
        get(small.at(server.add("/file", whole(archive))), root)
    assert "The download was removed" in str(caught.value)
    assert not list(root.parent.rglob("*evil*"))
    check_no_bad_cache(server, root, small)


@pytest.mark.parametrize("kind", ["npz", "pngs"])
def test_any_damage_is_noticed(root, tmp_path, kind):
    """Bits inverted and ends cut off at random; what does not harm the pictures may pass."""
    small = small_of(kind, sizes=(2, 1, 2, 1, 1, 1, 2))
    rng, passed = np.random.default_rng(0), 0
    for trial in range(40):
        archive = bytearray(small.archive)
        if trial % 4:
            archive[rng.integers(len(archive))] ^= 1 << rng.integers(8)
        copy = tmp_path / str(trial) / small.file.name
        copy.parent.mkdir()
        copy.write_bytes(archive if trial % 4 else archive[: rng.integers(len(archive))])
        try:
            prepared = get(small.at(), copy.parent / "cache", manual_dir=copy.parent)
        except ArchiveError:
            assert {path.name for path in (copy.parent / "cache").iterdir()} <= {f"{small.source.key}.lock"}
        else:
            check_right(prepared, small)
            passed += 1
    assert passed < 10


def test_errors_of_others_are_not_blamed_on_the_archive(server, root, monkeypatch):
    small = small_of("npz")

    def fail(builder):
        raise RuntimeError("something else")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="something else"):
        patch.setattr(preparing, "prepare_rows", fail)
        get(small.at(server.add("/file", whole(small.archive))), root)
    assert (root / "downloads" / small.file.name).read_bytes() == small.archive
    check_right(get(small.at(), root), small)


def test_a_bomb_is_not_unpacked(server, root):
    small = small_of("pngs")
    members = members_of(small.source, small.pictures, small.factors)
    members[small.file.layout.images.format(1)] = bytes(11 * 2**20)
    with pytest.raises(ArchiveError, match=r"000001\.png is far too long"):
        get(small.at(server.add("/file", whole(zipped(members, zipfile.ZIP_DEFLATED)))), root)
    check_no_bad_cache(server, root, small)


def test_dsprites_metadata_is_a_pickle_that_nobody_reads(server, root):
    small = tiny("dsprites", which_file=1)
    with zipfile.ZipFile(io.BytesIO(small.archive)) as file, pytest.raises(ValueError, match="allow_pickle"):
        np.load(io.BytesIO(file.read("metadata.npy")), allow_pickle=False)
    check_right(get(small.at(server.add("/file", whole(small.archive))), root), small)

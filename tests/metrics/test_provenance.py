"""Content credentials and leaks on real files, signed and tagged here."""

from __future__ import annotations

import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from evalkit.errors import MissingExtra, NotApplicable, UnreadableVideo
from evalkit.features.protocol import ClipFeatures, ClipRecord
from evalkit.metrics.provenance import C2PA, Credentials, MetadataLeak, read_credentials
from evalkit.suites import Prompt
from evalkit.video import decode, probe
from tests.video.writers import moving_squares, write_video


def clip_of(path: Path | None, text: str = "") -> ClipFeatures:
    prompt = Prompt(id="p", text=text, category="object") if text else None
    record = ClipRecord(prompt, 4, 48, 64, Fraction(24), path=str(path) if path else None)
    return ClipFeatures(record, {})


@pytest.fixture(scope="module")
def signer() -> Any:
    """A signer with a certificate of an authority made up for the test."""
    c2pa = pytest.importorskip("c2pa", reason="needs evalkit[provenance]")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, name),
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"),
            ]
        )

    def certificate(subject: str, key: Any, issuer_key: Any, *, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder(
                named("Test CA"), named(subject), key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False),
                critical=True,
            )
        )
        if not authority:
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(issuer_key, hashes.SHA256())

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = certificate("Test CA", root_key, root_key, authority=True)
    leaf = certificate("Test signer", key, root_key, authority=False)
    chain = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in (leaf, root))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, secret, None))


def sign(path: Path, signer: Any, *, remote: str | None = None) -> Path:
    import c2pa

    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    action = {"action": "c2pa.created", "digitalSourceType": source}
    manifest = {
        "claim_generator_info": [{"name": "a video model", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    builder = c2pa.Builder(manifest)
    if remote:
        builder.set_no_embed()
        builder.set_remote_url(remote)
    signed = path.with_name("signed.mp4")
    builder.sign_file(str(path), str(signed), signer)
    return signed


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_video(tmp_path / "plain.mp4", moving_squares(4))


def test_a_signed_file_is_valid_and_still_the_same_clip(plain: Path, signer: Any) -> None:
    signed = sign(plain, signer)
    assert read_credentials(signed) == Credentials("valid", (), "a video model")
    assert C2PA().score(clip_of(signed)).value == 1
    assert decode(signed) == decode(plain)


def test_a_file_without_credentials(plain: Path) -> None:
    pytest.importorskip("c2pa", reason="needs evalkit[provenance]")
    assert read_credentials(plain) == Credentials("missing")
    assert C2PA().score(clip_of(plain)).value == 0


def test_one_changed_bit_breaks_the_credentials(plain: Path, signer: Any) -> None:
    signed = sign(plain, signer)
    content = bytearray(signed.read_bytes())
    content[content.rfind(b"mdat") + 700] ^= 1
    signed.write_bytes(content)
    credentials = read_credentials(signed)
    assert credentials.state == "invalid"
    assert any("mismatch" in problem for problem in credentials.problems)
    assert C2PA().score(clip_of(signed)).value == 0


def test_the_name_of_the_file_plays_no_part(plain: Path, signer: Any) -> None:
    signed = sign(plain, signer)
    assert read_credentials(signed.rename(signed.with_name("clip.bin"))).state == "valid"


def test_a_remote_manifest_is_not_fetched(plain: Path, signer: Any) -> None:
    signed = sign(plain, signer, remote="http://127.0.0.1:9/manifest.c2pa")
    with pytest.raises(NotApplicable, match="kept on a server"):
        read_credentials(signed)


def test_containers_without_credentials(tmp_path: Path) -> None:
    pytest.importorskip("c2pa", reason="needs evalkit[provenance]")
    path = write_video(tmp_path / "a.mkv", moving_squares(2), container="matroska")
    with pytest.raises(NotApplicable, match="matroska"):
        read_credentials(path)
    with pytest.raises(UnreadableVideo, match="no such file"):
        read_credentials(tmp_path / "nothing.mp4")


def test_clips_that_evalkit_wrote_have_no_provenance() -> None:
    for metric in (C2PA(), MetadataLeak()):
        with pytest.raises(NotApplicable, match="evalkit wrote this file"):
            metric.score(clip_of(None))


def test_without_the_package_it_says_what_to_install(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    with pytest.raises(MissingExtra, match=r"pip install 'evalkit\[provenance\]'"):
        read_credentials(plain)


def tagged(path: Path, tags: dict[str, str], container: str = "mp4") -> Path:
    options = {"movflags": "use_metadata_tags"} if container in ("mp4", "mov") else {}
    with av.open(str(path), "w", format=container, options=options) as sink:
        sink.metadata.update(tags)
        stream = sink.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for pixels in moving_squares(2):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        sink.mux(stream.encode())
    return path


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_leaks_in_the_tags_of_a_container(tmp_path: Path, container: str) -> None:
    tags = {
        "comment": "a red ball on grass, rendered to /home/ada/out",
        "artist": "Ada",
        "title": "Ball",
    }
    path = tagged(tmp_path / "a", tags, container)
    assert MetadataLeak().score(clip_of(path, "A red ball on grass")).value == 3
    assert MetadataLeak().score(clip_of(path)).value == 2
    assert (
        MetadataLeak().score(clip_of(tagged(tmp_path / "b", {"title": "Ball"}, container), "Ball")).value == 0
    )


def test_leaks_in_the_xmp_of_an_mp4(plain: Path) -> None:
    xmp = b"<x:xmpmeta><rdf:li>loaded from /home/ada/loras/me.safetensors</rdf:li></x:xmpmeta>"
    identity = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    box = (8 + 16 + len(xmp)).to_bytes(4, "big") + b"uuid" + identity + xmp
    plain.write_bytes(plain.read_bytes() + box)
    assert "/home/ada" in str(probe(plain).metadata)
    assert MetadataLeak().score(clip_of(plain)).value == 1


def test_leaks_in_images(tmp_path: Path) -> None:
    """An animated WebP with a workflow in EXIF, and a folder of PNGs with a text chunk."""
    frames = [Image.fromarray(frame) for frame in moving_squares(2)]
    exif = Image.Exif()
    exif[0x010F] = 'workflow:{"nodes": [], "class_type": "KSampler"}'
    exif[0x013B] = "Ada"
    frames[0].save(
        tmp_path / "a.webp", append_images=frames[1:], save_all=True, duration=100, lossless=True, exif=exif
    )
    assert MetadataLeak().score(clip_of(tmp_path / "a.webp")).value == 2

    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("parameters", "a dog\nSteps: 20, Sampler: Euler, Seed: 3")
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, frame in enumerate(frames):
        frame.save(folder / f"{index}.png", pnginfo=text)
    assert MetadataLeak().score(clip_of(folder)).value == 1


def test_a_clean_file_leaks_nothing(plain: Path) -> None:
    assert MetadataLeak().score(clip_of(plain, "A red ball on grass")).value == 0

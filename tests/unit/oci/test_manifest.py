import json

import pytest

from proxycache.oci import media_types
from proxycache.oci.digest import digest_of
from proxycache.oci.errors import ManifestInvalid
from proxycache.oci.manifest import manifest_media_type, parse_manifest


def descriptor(content: str, media_type: str = "application/x", **fields: object) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest_of(content.encode())), "size": len(content), **fields}


CONFIG = descriptor("config", media_types.OCI_CONFIG)
LAYERS = [descriptor("layer one"), descriptor("layer two")]
CHILDREN = [descriptor("amd64", media_types.OCI_MANIFEST), descriptor("arm64", media_types.OCI_MANIFEST)]


def body(**fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, **fields}).encode()


def reference_texts(manifest) -> list[str]:
    return [str(reference.digest) for reference in manifest.references()]


@pytest.mark.parametrize("media_type", [media_types.OCI_MANIFEST, media_types.DOCKER_MANIFEST])
def test_an_image_references_its_config_and_layers(media_type):
    manifest = parse_manifest(body(mediaType=media_type, config=CONFIG, layers=LAYERS), media_type)

    assert (manifest.kind, manifest.media_type) == ("manifest", media_type)
    assert reference_texts(manifest) == [CONFIG["digest"], *(layer["digest"] for layer in LAYERS)]
    assert [layer.size for layer in manifest.layers] == [9, 9]


@pytest.mark.parametrize("media_type", [media_types.OCI_INDEX, media_types.DOCKER_LIST])
def test_an_index_references_its_children(media_type):
    manifest = parse_manifest(body(manifests=CHILDREN), media_type)

    assert (manifest.kind, manifest.config) == ("index", None)
    assert reference_texts(manifest) == [child["digest"] for child in CHILDREN]


def test_a_subject_is_known_and_not_referenced():
    subject = descriptor("subject", media_types.OCI_MANIFEST)

    manifest = parse_manifest(body(config=CONFIG, layers=[], subject=subject), media_types.OCI_MANIFEST)

    assert str(manifest.subject.digest) == subject["digest"]
    assert reference_texts(manifest) == [CONFIG["digest"]]


@pytest.mark.parametrize(
    ("fields", "media_type", "expected"),
    [
        ({"artifactType": "application/sbom", "config": CONFIG}, media_types.OCI_MANIFEST, "application/sbom"),
        ({"artifactType": "", "config": CONFIG}, media_types.OCI_MANIFEST, media_types.OCI_CONFIG),
        ({"config": CONFIG}, media_types.OCI_MANIFEST, media_types.OCI_CONFIG),
        ({"artifactType": "application/sbom"}, media_types.OCI_INDEX, "application/sbom"),
        ({}, media_types.OCI_INDEX, ""),
    ],
)
def test_the_artifact_type_falls_back_to_the_type_of_the_config(fields, media_type, expected):
    assert parse_manifest(body(**fields), media_type).artifact_type == expected


def test_annotations_are_kept():
    assert parse_manifest(body(annotations={"a": "b"}), media_types.OCI_INDEX).annotations == {"a": "b"}


def test_null_is_the_same_as_absent():
    fields = dict.fromkeys(["layers", "manifests", "subject", "artifactType", "annotations"])

    manifest = parse_manifest(body(config=CONFIG, **fields), media_types.OCI_MANIFEST)

    assert (manifest.layers, manifest.subject, manifest.annotations) == ((), None, {})


def test_unknown_fields_may_hold_anything():
    extended = descriptor("layer", platform={"os": "linux", "os.features": [1]}, data={"x": None})

    manifest = parse_manifest(body(config=CONFIG, layers=[extended], future=[[]]), media_types.OCI_MANIFEST)

    assert manifest.layers[0].platform.os == "linux"


@pytest.mark.parametrize("media_type", ["application/vnd.example.thing+json", media_types.DOCKER_SCHEMA1_SIGNED])
def test_a_manifest_of_another_type_is_accepted_whatever_it_holds(media_type):
    manifest = parse_manifest(b"\xff not even JSON", media_type)

    assert (manifest.kind, manifest.references(), manifest.artifact_type) == ("manifest", (), "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"[]", "array"),
        (b"{} {}", "malformed"),
        (b'{"annotations": {"\xff": ""}}', "decode"),
        (b'{"x":' + b"[" * 100_000, "deeply"),
        (body(layers=[descriptor("x", digest="sha256:abc")]), "invalid digest"),
        (body(config=descriptor("x", digest="md5:" + "a" * 32)), "invalid digest"),
        (body(subject=descriptor("x", digest="")), "invalid digest"),
        (body(layers=[descriptor("x", size=-1)]), "size"),
        (body(layers=[descriptor("x", size=2**63)]), "size"),
        (body(layers=[descriptor("x", size=None)]), "size"),
        (body(layers=[{"mediaType": "a", "size": 1}]), "digest"),
        (body(config=CONFIG, manifests=CHILDREN), "at once"),
        (body(layers=LAYERS, manifests=CHILDREN), "at once"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_the_reason(content, reason):
    with pytest.raises(ManifestInvalid, match=reason):
        parse_manifest(content, media_types.OCI_MANIFEST)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        (media_types.OCI_INDEX, media_types.OCI_INDEX),
        (f"{media_types.OCI_INDEX}; charset=utf-8", media_types.OCI_INDEX),
        (f" {media_types.OCI_INDEX.upper()} ", media_types.OCI_INDEX),
        ("application/vnd.example.thing+json", "application/vnd.example.thing+json"),
    ],
)
def test_the_content_type_tells_the_media_type(content_type, expected):
    assert manifest_media_type(b"not read", content_type) == expected


@pytest.mark.parametrize(
    "content_type", ["", "application/json; charset=utf-8", "application/octet-stream", "text/plain"]
)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (body(mediaType=media_types.DOCKER_MANIFEST), media_types.DOCKER_MANIFEST),
        (body(manifests=[]), media_types.OCI_INDEX),
        (body(config=CONFIG), media_types.OCI_MANIFEST),
        (body(mediaType="", config=CONFIG), media_types.OCI_MANIFEST),
        (body(schemaVersion=1, signatures=[]), media_types.DOCKER_SCHEMA1_SIGNED),
        (body(schemaVersion=1, fsLayers=[]), media_types.DOCKER_SCHEMA1),
    ],
)
def test_without_a_telling_content_type_the_content_tells_it(content_type, content, expected):
    assert manifest_media_type(content, content_type) == expected


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"mediaType": 1}', b"\xff"])
def test_a_manifest_that_tells_no_type_is_refused(content):
    with pytest.raises(ManifestInvalid):
        manifest_media_type(content, "")

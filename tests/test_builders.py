"""The builders give the same content for the same arguments."""

import json

from tests.builders import DOCKER_LIST, DOCKER_MANIFEST, OCI_MANIFEST, image, referrer


def test_the_same_arguments_give_the_same_image_and_another_seed_another() -> None:
    assert image().digest == image().digest
    assert image().digest != image(seed="other").digest


def test_an_index_names_one_child_per_platform() -> None:
    built = image(platforms=["linux/amd64", "linux/arm64/v8"], kind="docker", layers=3, layer_size=10)

    document = json.loads(built.body)

    assert built.media_type == DOCKER_LIST
    assert [each["platform"] for each in document["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
    ]
    assert {child.media_type for child in built.children} == {DOCKER_MANIFEST}
    assert len(list(built.blobs())) == 8
    assert len(list(built.manifests())) == 3


def test_a_referrer_names_its_subject() -> None:
    subject = image()

    document = json.loads(referrer(subject).body)

    assert document["subject"] == {"mediaType": OCI_MANIFEST, "digest": subject.digest, "size": subject.manifest.size}

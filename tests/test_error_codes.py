"""Each error code of the distribution spec has its class, and the class has the code's status."""

import pytest

from proxycache.oci import errors

# distribution-spec 1.1, "Error Codes"; the statuses are those that its endpoint list gives.
CODES = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "UNAUTHORIZED": 401,
    "DENIED": 403,
    "UNSUPPORTED": 405,
    "TOOMANYREQUESTS": 429,
}
CLASSES = {error_class.__name__.lower(): error_class for error_class in errors.RegistryError.__subclasses__()}


def test_the_specification_has_fourteen_codes():
    assert len(CODES) == 14


@pytest.mark.parametrize(("code", "status"), CODES.items())
def test_a_code_has_a_class_of_its_name_and_status(code, status):
    error_class = CLASSES[code.replace("_", "").lower()]

    assert (error_class.code, error_class.status) == (code, status)


@pytest.mark.parametrize("error_class", CLASSES.values(), ids=lambda error_class: error_class.__name__)
def test_no_class_invents_a_code(error_class):
    assert error_class.code in {*CODES, "UNKNOWN"}


@pytest.mark.parametrize("error_class", CLASSES.values(), ids=lambda error_class: error_class.__name__)
def test_the_tree_in_the_module_names_every_class(error_class):
    assert f"{error_class.__name__} " in errors.__doc__

"""How the front reads a request."""

import pytest

from lab.aws import call


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("backup.s3.eu-west-1.amazonaws.com", "/", "/backup/"),
        ("backup.s3.eu-west-1.amazonaws.com:443", "/a/b", "/backup/a/b"),
        ("s3.eu-west-1.amazonaws.com", "/backup/a", None),
        ("ec2.eu-west-1.amazonaws.com", "/", None),
        ("127.0.0.1:4566", "/backup", None),
    ],
)
def test_the_bucket_of_a_host_name_goes_into_the_path(host, path, expected):
    changed = call.path_style({"HTTP_HOST": host, "PATH_INFO": path, "RAW_URI": path})
    assert changed.get("PATH_INFO") == expected


@pytest.mark.parametrize(
    ("method", "path", "query", "action"),
    [
        ("GET", "/", "list-type=2&prefix=postgresql%2F", "ListObjectsV2"),
        ("PUT", "/postgresql/archive/main", "", "PutObject"),
        ("POST", "/", "delete", "DeleteObjects"),
        ("GET", "/key", "", "GetObject"),
    ],
)
def test_actions_of_virtual_host_style_requests_are_known(method, path, query, action):
    scope = "AKIA/20261128/eu-west-1/s3/aws4_request"
    environ = {
        "HTTP_HOST": "backup.s3.eu-west-1.amazonaws.com", "REQUEST_METHOD": method, "PATH_INFO": path, "RAW_URI": path,
        "QUERY_STRING": query, "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential={scope}, Signature=0",
        "SERVER_NAME": "x", "SERVER_PORT": "443", "wsgi.url_scheme": "https", "CONTENT_LENGTH": "0",
    }  # fmt: skip
    import io

    environ["wsgi.input"] = io.BytesIO()
    assert call.parse(environ, b"").action == action

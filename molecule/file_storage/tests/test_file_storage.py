"""A member of the file storage as its clients and its operator see it."""

import hashlib
import json
import re
import time

import pytest

BASE = "/etc/file-storage"
UNITS = [
    "file-storage-gateway",
    "file-storage-copy",
    "file-storage-copy-server",
    "nginx",
    "file-storage-snapshot.timer",
]
#: boto3 on the member itself: the ports are open to members and to HAProxy alone.
CLIENT = """
import boto3, botocore.exceptions, json, sys
users = json.load(open('/etc/file-storage/iam/users.json'))['accessAccounts']
def client(user, host='{host}'):
    return boto3.client('s3', endpoint_url='https://' + host + ':7070', region_name='eu-west-1', aws_access_key_id=user,
                        aws_secret_access_key=users[user]['secret'], verify='/etc/file-storage/tls/ca.crt')
s3 = client('trading')
def code(call, **arguments):
    try:
        call(**arguments)
        return 'OK'
    except botocore.exceptions.ClientError as error:
        return error.response['Error']['Code']
"""


@pytest.fixture
def settings(host):
    return json.loads(host.file(f"{BASE}/settings.json").content_string)


@pytest.fixture
def state(host):
    with host.sudo():
        return json.loads(host.check_output("/usr/local/sbin/file-storage state"))


@pytest.fixture
def one_client(host, settings):
    """The member from which clients are tried: what they see is the same from each."""
    if settings["name"] != next(iter(settings["members"])):
        pytest.skip("asked from the first member")


def primary(settings, host):
    """Name of the member that takes writes, asked of all gateways."""
    ask = " ".join(f"-o /dev/null https://{address}:7070/primary" for address in settings["members"].values())
    codes = host.run(f"curl -s -w '%{{http_code}}\\n' --cacert {BASE}/tls/ca.crt {ask}").stdout.split()
    found = [name for name, code in zip(settings["members"], codes, strict=True) if code == "200"]
    assert len(found) == 1, f"primaries: {found}"
    return found[0]


def s3(host, settings, lines, member=None):
    """Output of Python lines with a client `s3` of the user trading, run on the host."""
    script = CLIENT.replace("{host}", settings["members"][member or primary(settings, host)]) + lines
    with host.sudo():
        return host.check_output(f"python3 -c \"exec(bytes.fromhex('{script.encode().hex()}').decode())\"")


def test_runs_and_starts_at_boot(host):
    units = " ".join(UNITS)
    assert host.check_output(f"systemctl is-active {units}").split() == ["active"] * len(UNITS)
    assert host.check_output(f"systemctl is-enabled {units}").split() == ["enabled"] * len(UNITS)


def test_one_member_takes_writes(host, settings, state):
    assert state["role"] == ("primary" if primary(settings, host) == settings["name"] else "standby")
    assert state["identity"] == {"member": settings["name"], "domain": settings["domain"]}


PUT_AND_GET = """
put = s3.put_object(Bucket='reports', Key='{name}', Body=b'{text}' * 2000, ContentType='text/csv',
                    Metadata={{'trader': 'seven'}})
got = s3.get_object(Bucket='reports', Key='{name}')
print(json.dumps([put['ETag'], got['ETag'], got['ContentType'], got['Metadata']]))
"""
# From each member, once it has copied the object.
GET = """
import hashlib, time
def get(member):
    s3, found = client('trading', member), None
    for attempt in range(120):
        try:
            got = s3.get_object(Bucket='reports', Key='{name}')
            found = [got['ETag'], got['Metadata'], hashlib.sha256(got['Body'].read()).hexdigest()]
        except s3.exceptions.NoSuchKey:
            pass
        if found == {wanted}:
            break
        time.sleep(0.5)
    return found
print(json.dumps([get(member) for member in {members}]))
"""
MANY = """
for number in range(20):
    s3.put_object(Bucket='reports', Key='many', Body=b'x' * 128000)
    s3.get_object(Bucket='reports', Key='many')['Body'].read()
s3.delete_object(Bucket='reports', Key='many')
"""
LARGE = """
import os, io
from boto3.s3.transfer import TransferConfig
body = os.urandom(12 * 1024 * 1024)
config = TransferConfig(multipart_threshold=5 * 1024 * 1024)
s3.upload_fileobj(io.BytesIO(body), 'reports', 'large/one.bin', Config=config)
back = s3.get_object(Bucket='reports', Key='large/one.bin', Range='bytes=6000000-6000099')['Body'].read()
names = [item['Key'] for item in s3.list_objects_v2(Bucket='reports', Prefix='large/')['Contents']]
s3.delete_object(Bucket='reports', Key='large/one.bin')
left = s3.list_objects_v2(Bucket='reports', Prefix='large/')['KeyCount']
print(json.dumps([back == body[6000000:6000100], names, left]))
"""
RIGHTS = """
auditor = client('auditor')
print(json.dumps([
    code(auditor.list_objects_v2, Bucket='reports'),
    code(auditor.put_object, Bucket='reports', Key='x', Body=b''),
    code(auditor.get_object, Bucket='configuration', Key='trading/limits.yml'),
    code(auditor.list_objects_v2, Bucket='assets'),
    code(auditor.put_bucket_policy, Bucket='reports', Policy='{}'),
    code(auditor.create_bucket, Bucket='mine'),
    code(s3.put_object, Bucket='configuration', Key='trading/x', Body=b''),
    code(s3.get_object, Bucket='configuration', Key='other/secret'),
    code(s3.get_object, Bucket='configuration', Key='trading/none'),
]))
"""


def test_an_object_comes_back_whole_and_reaches_every_member(host, settings):
    text = hashlib.sha256(f"{settings['name']}{time.time()}".encode()).hexdigest()
    name = f"daily/{settings['name']}.csv"
    answer = json.loads(s3(host, settings, PUT_AND_GET.format(name=name, text=text)))
    etag = answer[0]
    assert answer[1:] == [etag, "text/csv", {"trader": "seven"}]
    wanted = [etag, {"trader": "seven"}, hashlib.sha256(text.encode() * 2000).hexdigest()]
    lines = GET.replace("{name}", name).replace("{wanted}", str(wanted))
    lines = lines.replace("{members}", str(list(settings["members"].values())))
    assert json.loads(s3(host, settings, lines)) == [wanted] * len(settings["members"])


def test_an_upload_leaves_nothing_for_the_next_request(host, settings, one_client):
    # What is left of an upload in chunks would be read as the next request, so each has a connection of its own.
    ask = f"curl -s -o /dev/null -D - --cacert {BASE}/tls/ca.crt https://{settings['members'][settings['name']]}:7070"
    assert "connection: close" in host.check_output(ask + "/reports/x").lower()
    s3(host, settings, MANY)


def test_large_objects_and_listings(host, settings, one_client):
    assert json.loads(s3(host, settings, LARGE)) == [True, ["large/one.bin"], 0]


def test_rights_are_those_described(host, settings, one_client):
    assert json.loads(s3(host, settings, RIGHTS)) == ["OK", *["AccessDenied"] * 7, "NoSuchKey"]


def test_a_standby_refuses_writes(host, settings, one_client):
    others = [name for name in settings["members"] if name != primary(settings, host)]
    for member in others:
        lines = "print(code(s3.put_object, Bucket='reports', Key='never', Body=b'x'))"
        assert s3(host, settings, lines, member=member) != "OK"


def test_public_objects_are_cached_with_etag_and_ranges(host, settings, one_client):
    name = f"logo-{settings['name']}.svg"
    lines = f"s3.put_object(Bucket='assets', Key='{name}', Body=b'<svg/>' * 1000, ContentType='image/svg+xml')"
    s3(host, settings, lines)
    cache = settings["members"][primary(settings, host)]
    get = f"curl -s --cacert {BASE}/tls/ca.crt -D - -o /dev/null https://{cache}:7080/assets/{name}"
    first, second = host.check_output(get).lower(), host.check_output(get + "?v=2").lower()
    assert "content-type: image/svg+xml" in first
    assert "x-cache: hit" in second
    etag = re.search(r'etag: ("[^"]+")', second).group(1)
    assert " 304 " in host.check_output(get + f" -H 'If-None-Match: {etag}'").splitlines()[0] + " "
    part = host.check_output(get + " -r 10-19").lower()
    assert part.splitlines()[0].split()[1] == "206"
    assert "content-range: bytes 10-19/6000" in part


def test_what_is_not_public_is_not_served_by_the_cache(host, settings):
    cache = f"https://{settings['members'][settings['name']]}:7080"
    paths = ["reports/x", "assets/", "assets/none", "assets/..%2freports/x"]
    ask = " ".join(f"-o /dev/null {cache}/{path}" for path in paths)
    codes = host.check_output(f"curl -s -w '%{{http_code}}\\n' --cacert {BASE}/tls/ca.crt {ask}").split()
    assert codes[:2] == ["404", "404"]
    assert codes[2] in ("403", "404")
    assert codes[3] in ("400", "403", "404")
    put = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {BASE}/tls/ca.crt -X PUT -d x {cache}/assets/none"
    assert host.check_output(put) == "403"


def test_strangers_and_plain_text_are_refused(host, settings):
    ask = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert {BASE}/tls/ca.crt https://{settings['members'][settings['name']]}:7070"
    assert host.check_output(ask + "/reports/x") == "403"
    assert (
        host.run("curl -s -m 3 http://127.0.0.1:7070/primary").stdout == ""
        or "400" in host.run("curl -s -m 3 -o /dev/null -w '%{http_code}' http://127.0.0.1:7070/primary").stdout
    )


def test_only_members_may_copy(host, settings):
    other = next(address for name, address in settings["members"].items() if name != settings["name"])
    ask = f"(sleep 1; echo) | timeout 5 openssl s_client -quiet -connect {other}:7090 -CAfile {BASE}/tls/ca.crt"
    with host.sudo():
        assert "@RSYNCD" not in host.run(ask).stdout
        assert "@RSYNCD" in host.run(f"{ask} -cert {BASE}/tls/gateway.crt -key {BASE}/tls/gateway.key").stdout


def test_secrets_are_nowhere_to_be_read(host):
    with host.sudo():
        environment = host.file(f"{BASE}/gateway.env")
        assert (environment.user, environment.mode) == ("root", 0o600)
        users = host.file(f"{BASE}/iam/users.json")
        assert (users.user, users.group, users.mode) == ("root", "file-storage", 0o640)
        secret = re.search("ROOT_SECRET_ACCESS_KEY=(.*)", environment.content_string).group(1)
        assert secret not in host.check_output("ps -eo args")
        assert secret not in host.run("journalctl -b -u file-storage-gateway -u file-storage-copy").stdout


def test_volume_is_mounted(host, settings):
    assert host.mount_point("/srv/files").exists
    assert "/srv/files" in host.check_output("systemctl show file-storage-gateway --property=RequiresMountsFor")


def test_metrics(host, settings, state):
    text = host.file("/var/lib/prometheus/node-exporter/file_storage.prom").content_string
    assert f"file_storage_primary {int(state['role'] == 'primary')}\n" in text
    assert 'file_storage_bucket_quota_bytes{bucket="reports"} 536870912\n' in text
    assert "file_storage_copy_failed 0\n" in text
    if state["role"] == "standby":
        until = float(re.search(r"copied_until_timestamp_seconds (\S+)", text).group(1))
        assert time.time() - until < 60


def test_rclone_copies_a_tree(host, settings, one_client):
    with host.sudo():
        secret = json.loads(host.file(f"{BASE}/iam/users.json").content_string)["accessAccounts"]["trading"]["secret"]
        address = settings["members"][primary(settings, host)]
        host.check_output(
            "mkdir -p /root/.config/rclone && install -m 600 /dev/null /root/.config/rclone/rclone.conf && "
            f"printf '[files]\\ntype = s3\\nprovider = Other\\nregion = eu-west-1\\nendpoint = https://{address}:7070\\n"
            f"access_key_id = trading\\nsecret_access_key = {secret}\\n' > /root/.config/rclone/rclone.conf"
        )
        done = host.run(
            f"rclone --ca-cert {BASE}/tls/ca.crt --s3-no-check-bucket sync /etc/apt files:reports/tree && "
            f"rclone --ca-cert {BASE}/tls/ca.crt check /etc/apt files:reports/tree && "
            f"rclone --ca-cert {BASE}/tls/ca.crt purge files:reports/tree"
        )
    assert done.rc == 0, done.stderr

"""The configuration that the role haproxy renders, read by HAProxy itself where the machine has it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.selfhosted.ec2.plugins.filter.haproxy import haproxy_kubernetes, haproxy_kubernetes_fault
from ansible_collections.selfhosted.ec2.plugins.filter.platform import slots

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "haproxy"
TIERS = [
    {"name": "database", "components": ["etcd", "postgresql"], "count": 3},
    {"name": "edge", "components": ["haproxy"], "count": 2},
]
FILES = {"name": "files", "components": ["file_storage"], "count": 2}
TCP = {"type": "tcp"}
HTTP = {"type": "http", "path": "/health"}
EVERYTHING = [
    {
        "name": "web",
        "mode": "http",
        "ports": [80, 443],
        "address": "127.0.0.1",
        "tls": True,
        "certificates": ["shop"],
        "host_map": "hosts",
        "rate_limit": {"limit": 100, "period": "10s", "action": "deny", "except": ["10.0.0.0/8"]},
        "timeouts": {"client": "30s", "server": "40s"},
        "config": ["http-request set-header X-Edge yes"],
        "backend": {
            "component": "etcd",
            "port": 8080,
            "tls": True,
            "balance": "leastconn",
            "backup": ["database-3"],
            "persistence": "30m",
            "maxconn": 50,
            "send_proxy": True,
            "config": ["option http-server-close"],
            "check": {**HTTP, "host": "web.example", "method": "HEAD", "expect": "200-399", "fast_interval": "1s"},
        },
    },
    {"name": "api", "mode": "http", "backend": {"dns": "api.example", "port": 80, "dns_count": 3, "check": HTTP}},
    {
        "name": "raw",
        "mode": "tcp",
        "ports": [9000],
        "fallback": "spare",
        "rate_limit": {"limit": 10, "period": "1s", "action": "reject"},
        "backend": {
            "servers": [{"name": "one", "address": "192.0.2.1"}],
            "port": 1,
            "tls": True,
            "verify_name": "raw.example",
            "check": {**TCP, "tls": False},
        },
    },
    {
        "name": "cache",
        "mode": "tcp",
        "ports": [6379],
        "backend": {
            "component": "etcd",
            "port": 6379,
            "check": {
                **TCP,
                "tls": True,
                "secret": "cache",
                "steps": [
                    {"send": "AUTH monitor {secret}", "expect": "+OK"},
                    {"send": "INFO replication", "expect": "role:master", "min_recv": 48},
                ],
            },
        },
    },
    {"name": "spare", "mode": "tcp", "backend": {"component": "extra_group", "port": 2, "check": TCP}},
]


@pytest.fixture
def render(tmp_path):
    """Render the configuration with variables of a user over the role's own."""

    def rendered(**given):
        loader = DataLoader()
        variables = {}
        for name in ("defaults", "vars"):
            variables |= loader.load_from_file(str(ROLE / name / "main.yml"), trusted_as_template=True)
        variables |= {
            "inventory_hostname": "edge-1",
            "platform_domain": "lab.internal",
            "platform_tiers": TIERS,
            "ec2_private_ip": "127.0.0.1",
            "ec2_memory_mib": 1024,
            "groups": {"extra_group": ["extra-1"]},
            "ansible_managed": "Managed",
            "__haproxy_base": str(tmp_path),
            **given,
        }
        text = (ROLE / "templates" / "haproxy.cfg.j2").read_text()
        templar = Templar(loader, variables)
        # Found without Ansible's collection loader, which other tests of the same process have gone past.
        templar._engine.environment.filters["selfhosted.ec2.slots"] = slots
        return templar.template(trust_as_template(text), overrides={"trim_blocks": True})

    return rendered


def section(text, heading):
    """Lines of one section."""
    return text.split(f"\n{heading}\n", 1)[1].split("\n\n", 1)[0].split("\n")


def test_postgresql_is_served_by_the_leader_and_read_from_the_replicas(render):
    text = render()
    leader, replicas = section(text, "backend postgresql"), section(text, "backend postgresql-ro")
    assert "    http-check send meth OPTIONS uri /primary" in leader
    assert "    http-check send meth OPTIONS uri /replica?lag=16MB" in replicas
    servers = [line for line in leader if line.startswith("    server ")]
    assert [line.split()[1] for line in servers] == ["database-1", "database-2", "database-3"]
    for number, line in enumerate(servers, 1):
        name = f"database-{number}.lab.internal"
        assert f" {name}:6432 check port 8008 inter 1s fall 2 rise 1 " in line
        assert " verify required ca-file " in line
        assert line.endswith(f" verifyhost {name} on-marked-down shutdown-sessions")
        assert " ssl " not in line, "PgBouncer's own TLS goes through"
    assert "    use_backend postgresql if { nbsrv(postgresql-ro) lt 1 }" in section(text, "frontend postgresql-ro")


def test_redis_is_served_by_the_server_that_says_it_is_the_primary(render):
    tiers = [{"name": "cache", "components": ["redis"], "count": 3}, TIERS[1]]
    text = render(platform_tiers=tiers, platform_secrets={"redis/monitor_password": "not to be shown"})
    lines = section(text, "backend redis")
    asked = [line.strip() for line in lines if line.startswith("    tcp-check ")]
    assert asked[0].startswith('tcp-check send-lf "AUTH monitor %[str(redis),map(')
    assert 'tcp-check expect min-recv 48 string "role:master"' in asked
    servers = [line for line in lines if line.startswith("    server ")]
    assert [line.split()[1] for line in servers] == ["cache-1", "cache-2", "cache-3"]
    assert all(" check-ssl check-sni cache-" in line and " verify required " in line for line in servers)
    assert "not to be shown" not in text


def test_rabbitmq_is_served_by_every_member_that_answers_a_handshake(render):
    text = render(platform_tiers=[{"name": "queue", "components": ["rabbitmq"], "count": 3}, TIERS[1]])
    assert "    bind *:5671 tcp-ut 30s" in section(text, "frontend rabbitmq")
    lines = section(text, "backend rabbitmq")
    assert "    balance leastconn" in lines
    servers = [line for line in lines if line.startswith("    server ")]
    assert [line.split()[1:3] for line in servers] == [
        [f"queue-{n}", f"queue-{n}.lab.internal:5671"] for n in (1, 2, 3)
    ]
    assert all(" check-ssl check-sni queue-" in line and " verify required " in line for line in servers)
    assert all(" on-marked-down shutdown-sessions" in line and " backup" not in line for line in servers)


def test_files_are_written_at_the_primary_and_read_from_whoever_is_there(render):
    text = render(platform_tiers=[FILES, TIERS[1]])
    for name, port in (("files", 7070), ("assets", 7080)):
        for backend, path in ((name, "/primary"), (f"{name}-standby", "/standby")):
            lines = section(text, f"backend {backend}")
            assert f"    http-check send meth GET uri {path}" in lines
            servers = [line for line in lines if line.startswith("    server ")]
            assert [line.split()[1] for line in servers] == ["files-1", "files-2"]
            for number, line in enumerate(servers, 1):
                assert f" files-{number}.lab.internal:{port} check " in line
                assert " ssl " in line and f" verifyhost files-{number}.lab.internal" in line
        assert f"    use_backend {name}-standby if {{ nbsrv({name}) lt 1 }}" in section(text, f"frontend {name}")
    refused = "http-request deny deny_status 503 if { nbsrv(files) eq 0 } !{ method GET HEAD }"
    assert f"    {refused}" in section(text, "frontend files"), "clients try a write again while nobody takes it"


def test_without_postgresql_there_is_nothing_of_it(render):
    text = render(platform_tiers=[TIERS[1]])
    assert "postgresql" not in text


@pytest.mark.parametrize(("memory", "connections"), [(512, 4096), (1024, 8192), (262144, 200000)])
def test_connections_follow_the_memory_up_to_a_limit(render, memory, connections):
    assert f"    maxconn {connections}" in render(ec2_memory_mib=memory).split("\n")


def test_statistics_are_private_and_without_administration(render):
    lines = section(render(), "frontend metrics")
    assert "    bind 127.0.0.1:8405" in lines
    assert not [line for line in lines if "admin" in line or "auth" in line]


def test_servers_come_from_groups_and_slots_and_names(render):
    text = render(haproxy_services=EVERYTHING)
    assert [line.split()[1:3] for line in section(text, "backend spare") if line.startswith("    server ")] == [
        ["extra-1", "extra-1.lab.internal:2"]
    ]
    assert "    server-template node 3 api.example:80 check" in "\n".join(section(text, "backend api"))
    web = [line for line in section(text, "backend web") if line.startswith("    server ")]
    assert [line.endswith(" backup") for line in web] == [False, False, True]
    assert "frontend api" not in text
    assert " no-check-ssl verify required " in "\n".join(section(text, "backend raw"))


@pytest.mark.skipif(not shutil.which("haproxy"), reason="this machine has no haproxy")
@pytest.mark.parametrize(
    "given",
    [{}, {"platform_tiers": [FILES, TIERS[1]]}, {"haproxy_services": EVERYTHING}],
    ids=["postgresql", "files", "everything"],
)
def test_haproxy_finds_it_valid(render, tmp_path, given):
    (tmp_path / "maps").mkdir()
    (tmp_path / "crt-lists").mkdir()
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "secrets.map").write_text("cache 0123\n")
    (tmp_path / "maps" / "hosts.map").write_text("api.example api\n")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=web", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "ca.crt")],
        check=True,
        capture_output=True,
    )
    (tmp_path / "web.pem").write_text((tmp_path / "key").read_text() + (tmp_path / "ca.crt").read_text())
    for name in ("web", "files", "assets"):
        (tmp_path / "crt-lists" / f"{name}.list").write_text(f"{tmp_path / 'web.pem'}\n")
    (tmp_path / "haproxy.cfg").write_text(render(**given))
    checked = subprocess.run(
        ["haproxy", "-c", "-f", str(tmp_path / "haproxy.cfg")], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    expected = ("could not resolve address", "Can't open global server state file")
    warnings = [line for line in checked.stderr.splitlines() if "[WARNING]" in line]
    assert [line for line in warnings if not any(text in line for text in expected)] == []


KUBERNETES = [
    {"name": "control", "components": ["kubernetes", "kubernetes_control_plane"], "count": 3},
    {"name": "workers", "components": ["kubernetes"], "count": 2},
    TIERS[1],
]
PUBLISHED = [
    {"name": "web", "host": "web.lab.internal", "node_port": 30080, "check": "/healthz"},
    {"name": "api", "host": "api.example", "path": "/v1", "node_port": 30081, "health_port": 30082},
]


def kubernetes(render, published=()):
    settings = {"port": 6443, "server_port": 6443, "services_port": 8443, "published": list(published)}
    secrets = {"kubernetes/ca/certificate": "the cluster's"}
    services = haproxy_kubernetes(settings, ["workers-1", "workers-2"], "lab.internal")
    return render(platform_tiers=KUBERNETES, platform_secrets=secrets, haproxy_services=services)


def test_the_api_of_kubernetes_is_served_by_who_is_ready_and_verified_by_the_clusters_authority(render):
    lines = section(kubernetes(render), "backend kubernetes")
    assert "    http-check send meth GET uri /readyz" in lines
    servers = [line for line in lines if line.startswith("    server ")]
    assert [line.split()[1:3] for line in servers] == [
        [f"control-{n}", f"control-{n}.lab.internal:6443"] for n in (1, 2, 3)
    ]
    # One that does not connect is left for another one within a second.
    assert "    option redispatch 1" in lines and "    timeout connect 1s" in lines
    assert all("/authorities/kubernetes.crt verifyhost kubernetes.lab.internal" in line for line in servers)
    assert all(" check-ssl check-sni kubernetes.lab.internal" in line and " ssl " not in line for line in servers)


def test_while_no_api_server_is_ready_they_are_asked_that_only_etcd_keeps_from_it(render):
    text = kubernetes(render)
    assert "    use_backend kubernetes-without-etcd if { nbsrv(kubernetes) lt 1 }" in section(
        text, "frontend kubernetes"
    )
    ready, waiting = (section(text, f"backend {name}") for name in ("kubernetes", "kubernetes-without-etcd"))
    assert [line for line in waiting if "http-check" in line] == [
        "    http-check connect default",
        "    http-check send meth GET uri /readyz",
        "    http-check expect status 500",
        "    http-check connect default",
        "    http-check send meth GET uri /readyz?exclude=etcd&exclude=etcd-readiness",
        "    http-check expect status 200",
    ]
    servers, others = ([line for line in lines if line.startswith("    server ")] for lines in (ready, waiting))
    assert [line.replace("inter 1s downinter 1s", "inter 500ms downinter 500ms") for line in others] == servers


def test_published_services_of_kubernetes_follow_the_workers(render):
    text = kubernetes(render, PUBLISHED)
    front = section(text, "frontend kubernetes-services")
    web = "{ req.hdr(host),field(1,:),lower -m str web.lab.internal }"
    host = "{ req.hdr(host),field(1,:),lower -m str api.example }"
    api = f"{host} {{ path /v1 }} or {host} {{ path_beg /v1/ }}"
    assert f"    http-request return status 404 unless {web} or {api}" in front
    assert front.index(f"    use_backend kubernetes-web if {web}") < front.index(
        "    default_backend kubernetes-services"
    )
    for name, port, check in (("web", 30080, "/healthz"), ("api", 30081, "/healthz")):
        lines = section(text, f"backend kubernetes-{name}")
        assert f"    http-check send meth GET uri {check}" in lines
        servers = [line for line in lines if line.startswith("    server ")]
        assert [line.split()[1:3] for line in servers] == [
            [f"workers-{n}", f"workers-{n}.lab.internal:{port}"] for n in (1, 2)
        ]
    assert " port 30082 " in "\n".join(section(text, "backend kubernetes-api"))
    assert "send-proxy" not in text


def test_pods_may_be_told_who_the_client_is(render):
    text = kubernetes(render, [PUBLISHED[0] | {"proxy_protocol": True}, PUBLISHED[1]])
    servers = [line for line in section(text, "backend kubernetes-web") if line.startswith("    server ")]
    assert len(servers) == 2
    assert all(" send-proxy-v2" in line for line in servers)
    assert "send-proxy" not in "\n".join(section(text, "backend kubernetes-api"))


def test_the_longest_path_of_a_host_comes_first_and_its_certificate_may_be_ones_own():
    settings = {"port": 6443, "server_port": 6443, "services_port": 8443, "certificates": ["shop"]}
    ports = {"node_port": 30080}
    published = [
        {"name": "all", "host": "a.lab.internal", **ports},
        {"name": "v1", "host": "a.lab.internal", "path": "/v1", **ports},
        {"name": "old", "host": "a.lab.internal", "path": "/v1/old/", **ports},
    ]
    front = haproxy_kubernetes({**settings, "published": published}, ["workers-1"], "lab.internal")[2]
    assert [line.split()[1] for line in front["config"][1:]] == ["kubernetes-old", "kubernetes-v1", "kubernetes-all"]
    assert "{ path_beg /v1/old/ }" in front["config"][1] and "//" not in front["config"][1]
    assert front["certificates"] == ["shop"]
    # A dictionary of one's own may have no list at all.
    assert len(haproxy_kubernetes(settings, ["workers-1"], "lab.internal")) == 3


GOOD = {"name": "web", "host": "web.lab.internal", "node_port": 30080, "path": "/v1", "check": "/healthz?full=1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"node_port": 40000}, "the node_port 40000; node ports are 30000 to 32767"),
        ({"node_port": 8080}, "node ports are"),
        ({"health_port": 10256}, "the health_port 10256"),
        ({"host": "a b"}, "the host 'a b'"),
        ({"host": "web.lab.internal }\n    use_backend x"}, "give a name such as"),
        ({"path": "v1"}, "the path 'v1'; it begins with /"),
        ({"path": "/v1 } or { always_true"}, "the path"),
        ({"check": "/a b"}, "the check '/a b'"),
        ({"host": "api.example"}, "not below lab.internal; name one of haproxy_certificates"),
    ],
)
def test_what_kubernetes_may_not_publish(change, said):
    found = haproxy_kubernetes_fault({"published": [{**GOOD, **change}]}, "lab.internal")
    assert said in found and bool(said) == bool(found)
    if said:
        assert found.startswith("haproxy_kubernetes.published gives web the")


def test_two_published_services_may_not_take_the_same_requests():
    assert haproxy_kubernetes_fault({}, "lab.internal") == ""
    found = haproxy_kubernetes_fault({"published": [GOOD, {**GOOD, "name": "b"}]}, "lab.internal")
    assert "gives b the host and path of another one" in found


def test_without_workers_or_published_services_nothing_of_them_is_served(render):
    assert "    http-request return status 404" in section(kubernetes(render), "frontend kubernetes-services")
    settings = {"port": 6443, "server_port": 6443, "services_port": 8443, "published": PUBLISHED}
    names = [service["name"] for service in haproxy_kubernetes(settings, [], "lab.internal")]
    assert names == ["kubernetes", "kubernetes-without-etcd"]

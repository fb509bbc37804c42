"""A host as its operator finds it."""

import json


def run(host, command):
    """Output of a command as root."""
    with host.sudo():
        return host.check_output(command)


def test_name_and_hosts(host):
    assert host.check_output("hostname") == "base-1"
    assert host.check_output("getent ahostsv4 base-1").split()[2] == "base-1.molecule.internal"
    assert host.check_output("getent hosts ledger").split()[0] == "192.0.2.7"
    assert host.addr("localhost").is_resolvable


def test_nothing_is_mounted_over_tmp_while_the_host_runs(host):
    """The lab's hosts have it from outside: systemd must never mount a second one over what is in use."""
    assert host.run("systemctl start tmp.mount").rc != 0
    assert host.check_output("findmnt --noheadings --output TARGET /tmp").split() == ["/tmp"]


def test_chrony_runs_with_the_amazon_time_source(host):
    assert host.service("chrony").is_running
    assert host.service("chrony").is_enabled
    assert "169.254.169.123" in run(host, "chronyc -n sources")
    assert "chronyd -F 1 -x" in host.check_output("pgrep -a chronyd")


def test_kernel_settings_are_written_later_profiles_and_own_values_win(host):
    lines = host.file("/etc/sysctl.d/60-platform.conf").content_string.splitlines()
    assert "net.core.somaxconn = 65535" in lines
    assert "vm.swappiness = 5" in lines
    assert "kernel.panic = 10" in lines


def test_limit_of_open_files(host):
    assert host.check_output("systemctl show --property=DefaultLimitNOFILE --value") == "262144"


def test_security_updates_leave_out_what_the_roles_upgrade(host):
    settings = run(host, "apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in settings
    assert 'Unattended-Upgrade::Package-Blacklist:: "postgresql-.*$";' in settings
    origins = [line for line in settings.splitlines() if line.startswith("Unattended-Upgrade::Origins-Pattern::")]
    assert len(origins) == 1
    assert "security" in origins[0]


def test_journal_is_kept_and_limited(host):
    lines = host.file("/etc/systemd/journald.conf.d/60-platform.conf").content_string.splitlines()
    assert "Storage=persistent" in lines
    assert "SystemMaxUse=500M" in lines


def test_people(host):
    assert host.user("ada").shell == "/bin/bash"
    assert host.user("bob").uid == 2345
    home = host.file("/home/ada")
    assert (home.user, home.mode) == ("ada", 0o700)
    assert host.file("/etc/ssh/authorized_keys.d/ada").content_string.endswith(" ada\n")
    assert "NOPASSWD: ALL" in run(host, "sudo -l -U ada")
    assert "not allowed" in run(host, "sudo -l -U bob")


def test_ssh_reads_the_keys_and_takes_no_passwords(host):
    settings = run(host, "sshd -T").splitlines()
    assert "authorizedkeysfile .ssh/authorized_keys /etc/ssh/authorized_keys.d/%u" in settings
    assert "passwordauthentication no" in settings


def test_firewall(host):
    assert host.service("nftables").is_enabled
    items = json.loads(run(host, "nft --json list table inet platform"))["nftables"]
    chain = next(item["chain"] for item in items if "chain" in item)
    assert (chain["hook"], chain["policy"]) == ("input", "drop")
    rules = run(host, "nft list table inet platform")
    assert "ip saddr 10.0.0.0/8 tcp dport 8080 accept" in rules
    assert "udp dport 5000-5010 accept" in rules
    assert "tcp dport 22 accept" in rules


def test_cryptography_is_there_for_certificates(host):
    assert host.run("/usr/bin/python3 -c 'import cryptography'").rc == 0


def test_nothing_failed(host):
    assert host.check_output("systemctl --failed --no-legend --plain") == ""

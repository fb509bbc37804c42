"""The process `lab reconcile`: makes hosts, volumes and routers what the lab's AWS says.

The loop (one thread) reads and decides; what takes time runs in worker threads, one at most per instance.
Nothing is remembered between runs but what lies on disk: a restarted reconciler goes on where the last one ended.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from lab import api, faults, hosts, network, volumes
from lab.network import namespaces
from lab.paths import Lab

LOG = logging.getLogger("lab.reconciler")
READ_SECONDS = 15  # reads without a datagram: only in case one was lost
LOOK_SECONDS = 2  # looks at the hosts' processes
FREE_SECONDS = 5  # a volume's last host may take so long to let go of it
WORKERS = 8
ROOT_DEVICES = ("/dev/xvda", "/dev/sda1")
#: Their hosts run containers.
CONTAINER_COMPONENTS = {"containerd", "kubernetes", "kubernetes_control_plane"}


def decide(state: str, running: bool, faulted: bool, exit_code: int | None, reboot: bool) -> str | None:
    """What is to be done with a host: start, stop, reboot, remove, report-running, report-stopped or None.

    `state` as EC2 names it; `exit_code` of the last run (see hosts.exit_code); `reboot`: one was asked for.
    """
    if state in ("shutting-down", "terminated"):
        return "remove"
    if state in ("stopping", "stopped"):
        if running or state == "stopping":
            return "stop"
        return None
    if state == "pending":
        return "report-running" if running else "start"
    if faulted or state != "running":
        return None
    if not running:
        return "report-stopped" if exit_code == 0 else "start"
    return "reboot" if reboot else None


def root_device(instance: dict) -> str:
    return instance.get("RootDeviceName") or ROOT_DEVICES[0]


def wanted_volumes(instance: dict, described: list[dict]) -> dict[str, dict]:
    """The data volumes that the API has attached (or is attaching) to the instance: id -> volume."""
    wanted = {}
    for volume in described:
        for attachment in volume.get("Attachments", []):
            if (
                attachment["InstanceId"] == instance["InstanceId"]
                and attachment["Device"] != root_device(instance)
                and attachment["State"] in ("attaching", "attached", "busy")
            ):
                wanted[volume["VolumeId"]] = volume
    return wanted


def resolver(cidr: str) -> str:
    """Address of the VPC's resolver: the block's base plus two (VPC User Guide, "Amazon DNS server")."""
    return str(ipaddress.ip_network(cidr)[2])


def troubles_file(lab: Lab) -> Path:
    return lab.run / "troubles.json"


def troubles(lab: Lab) -> dict[str, str]:
    """What the reconciler cannot do at present: host or step -> sentence."""
    try:
        return json.loads(troubles_file(lab).read_text())
    except (OSError, ValueError):
        return {}


class World:
    """What the API says at one moment, over all regions that have instances."""

    def __init__(self, lab: Lab, clients: dict):
        self.control = api.control(lab, "GET", "instances")
        regions = sorted({lab.region, *(item.get("region", lab.region) for item in self.control.values())})
        self.instances: dict[str, dict] = {}
        self.volumes: list[dict] = []
        self.snapshots: list[dict] = []
        self.models: list = []
        self.keys: dict[tuple[str, str], str] = {}
        self.blocks: dict[str, str] = {}
        for region in regions:
            if region not in clients:
                clients[region] = api.ec2(lab, region)
            client = clients[region]
            for instance in api.instances(client):
                self.instances[instance["InstanceId"]] = {**instance, "Region": region}
            self.volumes += api.pages(client, "describe_volumes", "Volumes")
            self.snapshots += api.pages(client, "describe_snapshots", "Snapshots", OwnerIds=["self"])
            self.models += network.read_models(client)
            for pair in client.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]:
                self.keys[region, pair["KeyName"]] = pair.get("PublicKey", "")
            for vpc in api.pages(client, "describe_vpcs", "Vpcs"):
                self.blocks[vpc["VpcId"]] = vpc["CidrBlock"]

    def state(self, instance_id: str) -> str:
        return self.instances[instance_id]["State"]["Name"] if instance_id in self.instances else "terminated"


class Reconciler:
    def __init__(self, lab: Lab):
        self.lab = lab
        self.pool = ThreadPoolExecutor(WORKERS)
        self.busy: dict[str, Future] = {}
        self.children: list[subprocess.Popen] = []
        self.memory: dict[str, int] = {}
        self.clients: dict = {}
        self.stopping = threading.Event()
        self.world: World | None = None
        self.socket = self._listen()
        self.troubles: dict[str, str] = {}
        self.lock = threading.Lock()
        troubles_file(lab).unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        path = self.lab.changed_socket("reconcile")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.bind(str(path))
        made.setblocking(False)
        return made

    def wake(self) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"wake", str(self.lab.changed_socket("reconcile")))

    def run(self) -> None:
        """Until SIGTERM. Hosts run on."""
        last_read = 0.0
        woken = True
        while not self.stopping.is_set():
            if woken or self.world is None or time.monotonic() - last_read > READ_SECONDS:
                last_read = time.monotonic()
                self._guarded(self._read)
            self._guarded(self._act)
            woken = self._wait()
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _wait(self) -> bool:
        ready, _, _ = select.select([self.socket], [], [], LOOK_SECONDS)
        if ready:
            time.sleep(0.02)  # a burst of calls is one change
            with contextlib.suppress(BlockingIOError):
                while self.socket.recv(64):
                    pass
        return bool(ready)

    def _guarded(self, step) -> None:
        """The loop outlives every error; one that stays is logged once and shown by `lab status`."""
        try:
            step()
            self._trouble(step.__name__, "")
        except (BotoCoreError, ClientError, RuntimeError, OSError, ValueError) as error:
            if isinstance(error, (api.NoAWS, BotoCoreError, ClientError)):
                self.world = None
            self._trouble(step.__name__, str(error))

    def _trouble(self, key: str, text: str) -> None:
        """Remember what goes wrong with a step or a host; nothing when it went well."""
        with self.lock:
            if self.troubles.get(key, "") == text:
                return
            if text:
                LOG.error("%s: %s", key.lstrip("_"), text)
                self.troubles[key] = text
            else:
                del self.troubles[key]
            temporary = troubles_file(self.lab).with_suffix(".new")
            temporary.write_text(json.dumps({name.lstrip("_"): value for name, value in self.troubles.items()}))
            temporary.replace(troubles_file(self.lab))

    # Reading

    def _read(self) -> None:
        self.world = World(self.lab, self.clients)
        network.apply(self.lab, self.world.models)

    # Acting

    def _act(self) -> None:
        if self.world is None:
            return
        self.children = [child for child in self.children if child.poll() is None]
        self.busy = {key: future for key, future in self.busy.items() if not future.done()}
        actions = {key: self._decide(key) for key in sorted({*self.world.instances, *hosts.known(self.lab)})}
        self._attach_network([key for key, action in actions.items() if action == "start"])
        for instance_id, action in actions.items():
            if action:
                self._submit(instance_id, getattr(self, "_" + action.replace("-", "_")), instance_id)
            elif instance_id in self.world.instances:
                self._volumes_of(instance_id)
        self._loose_volumes()
        self._snapshots()

    def _submit(self, key: str, function, *arguments) -> None:
        if key not in self.busy:
            self.busy[key] = self.pool.submit(self._work, key, function, *arguments)

    def _work(self, key: str, function, *arguments) -> None:
        try:
            function(*arguments)
            self._trouble(key, "")
        except Exception as error:
            self._trouble(key, str(error) or type(error).__name__)
            LOG.debug("%s: %s failed", key, function.__name__, exc_info=True)
            time.sleep(2)
        finally:
            # Read again: what was decided meanwhile could not be acted upon.
            self.wake()

    def _decide(self, instance_id: str) -> str | None:
        if instance_id in self.busy:
            return None
        state = self.world.state(instance_id)
        present = hosts.exists(self.lab, instance_id)
        if state == "terminated" and not present:
            return None
        faulted = bool({"kill", "freeze"} & set(faults.recorded(self.lab).get(instance_id, [])))
        exit_code = hosts.exit_code(self.lab, instance_id)
        running = hosts.is_running(self.lab, instance_id)
        return decide(state, running, faulted, exit_code, running and self._reboot_asked(instance_id))

    def _attach_network(self, starting: list[str]) -> None:
        """A start begins with a fresh namespace, so that nothing of the last run's network is left."""
        for instance_id in starting:
            if hosts.is_running(self.lab, instance_id):
                continue
            try:
                network.detach_host(self.lab, instance_id)
                network.attach_host(self.lab, instance_id)
                namespaces.sysctl(self.lab.host_namespace(instance_id), {"ping_group_range": "0 2147483647"})
            except (RuntimeError, OSError) as error:
                self._trouble(instance_id, str(error))
        if starting:
            # Trouble with one VPC must not keep the hosts of another from starting.
            try:
                network.apply(self.lab, self.world.models)
            except RuntimeError as error:
                self._trouble("network", str(error))
            else:
                self._trouble("network", "")

    # Instances

    def _reboots_file(self, instance_id: str) -> Path:
        return self.lab.instance(instance_id) / "reboots"

    def _reboots_asked(self, instance_id: str) -> int:
        return int(self.world.control.get(instance_id, {}).get("reboots", 0))

    def _reboot_asked(self, instance_id: str) -> bool:
        try:
            done = int(self._reboots_file(instance_id).read_text())
        except (OSError, ValueError):
            done = 0
        return self._reboots_asked(instance_id) > done

    def _describe_host(self, instance: dict) -> hosts.Host:
        return hosts.Host(
            instance_id=instance["InstanceId"],
            address=instance["PrivateIpAddress"],
            memory_mib=self._memory(instance),
            public_key=self.world.keys.get((instance["Region"], instance.get("KeyName", "")), ""),
            resolver=resolver(self.world.blocks[instance["VpcId"]]),
            search=f"{instance['Region']}.compute.internal",
            containers=bool(CONTAINER_COMPONENTS & set(api.tag_of(instance, "components").split())),
        )

    def _memory(self, instance: dict) -> int:
        kind = instance["InstanceType"]
        if kind not in self.memory:
            client = api.ec2(self.lab, instance["Region"])
            types = client.describe_instance_types(InstanceTypes=[kind])["InstanceTypes"]
            self.memory[kind] = types[0]["MemoryInfo"]["SizeInMiB"]
        return self.memory[kind]

    def _start(self, instance_id: str) -> None:
        instance = self.world.instances[instance_id]
        host = self._describe_host(instance)
        faults.forget(self.lab, instance_id)
        if hosts.exists(self.lab, instance_id):
            hosts.update(self.lab, host)
        else:
            hosts.create(self.lab, host)
        self._reboots_file(instance_id).write_text(str(self._reboots_asked(instance_id)))
        for volume_id, volume in wanted_volumes(instance, self.world.volumes).items():
            self._make_volume(volume, instance_id)
            hosts.attach(self.lab, instance_id, volume_id)
        started = time.monotonic()
        child = hosts.start(self.lab, instance_id)
        if child:
            self.children.append(child)
        LOG.info("%s (%s) started in %.1f s", instance_id, api.name_of(instance), time.monotonic() - started)
        if instance["State"]["Name"] == "pending":
            self._report(instance_id, "running")

    def _report_running(self, instance_id: str) -> None:
        self._report(instance_id, "running")

    def _report_stopped(self, instance_id: str) -> None:
        """The guest shut itself down."""
        hosts.clear(self.lab, instance_id)
        network.detach_host(self.lab, instance_id)
        self._report(instance_id, "stopped", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")

    def _stop(self, instance_id: str) -> None:
        if hosts.exists(self.lab, instance_id):
            hosts.stop(self.lab, instance_id)
            network.detach_host(self.lab, instance_id)
            faults.forget(self.lab, instance_id)
        if self.world.state(instance_id) == "stopping":
            self._report(instance_id, "stopped")
        LOG.info("%s stopped", instance_id)

    def _reboot(self, instance_id: str) -> None:
        hosts.stop(self.lab, instance_id)
        (self.lab.instance(instance_id) / "exit").write_text(str(hosts.REBOOT_EXIT))
        LOG.info("%s stopped to reboot", instance_id)

    def _remove(self, instance_id: str) -> None:
        state = self.world.state(instance_id)
        hosts.remove(self.lab, instance_id)
        network.detach_host(self.lab, instance_id)
        faults.forget(self.lab, instance_id)
        if state == "shutting-down":
            self._report(instance_id, "terminated")
        LOG.info("%s removed", instance_id)

    def _report(self, instance_id: str, state: str, reason: str = "") -> None:
        # A state that was overtaken by another call is refused; the next read shows what is wanted now.
        with contextlib.suppress(ValueError):
            api.control(self.lab, "PUT", f"instances/{instance_id}", {"state": state, "reason": reason})

    # Volumes

    def _volumes_of(self, instance_id: str) -> None:
        """Attach, detach and grow while the instance runs or is stopped."""
        if instance_id in self.busy or not hosts.exists(self.lab, instance_id):
            return
        instance = self.world.instances[instance_id]
        wanted = wanted_volumes(instance, self.world.volumes)
        present = hosts.attached(self.lab, instance_id)
        attaching = [v for v in wanted.values() if any(a["State"] == "attaching" for a in v["Attachments"])]
        small = [v for v in wanted.values() if self._too_small(v)]
        if set(wanted) != set(present) or attaching or small:
            self._submit(instance_id, self._change_volumes, instance_id, wanted)

    def _too_small(self, volume: dict) -> bool:
        file = self.lab.volume(volume["VolumeId"])
        return not file.exists() or file.stat().st_size < volume["Size"] * volumes.GIB

    def _change_volumes(self, instance_id: str, wanted: dict[str, dict]) -> None:
        for volume_id in sorted(set(hosts.attached(self.lab, instance_id)) - set(wanted)):
            if hosts.detach(self.lab, instance_id, volume_id):
                self._report_volume(volume_id, "available")
                LOG.info("%s detached from %s", volume_id, instance_id)
        for volume_id, volume in sorted(wanted.items()):
            self._make_volume(volume, instance_id)
            hosts.attach(self.lab, instance_id, volume_id)
            if any(a["State"] == "attaching" for a in volume["Attachments"]):
                self._report_volume(volume_id, "in-use")
                LOG.info("%s attached to %s", volume_id, instance_id)

    def _make_volume(self, volume: dict, instance_id: str) -> None:
        self._wait_until_free(volume["VolumeId"], instance_id)
        volume_id, snapshot_id = volume["VolumeId"], volume.get("SnapshotId") or None
        if snapshot_id and not self.lab.volume(volume_id).exists():
            self._take_snapshot(snapshot_id)
        volumes.make(self.lab, volume_id, volume["Size"], snapshot_id)

    def _wait_until_free(self, volume_id: str, instance_id: str) -> None:
        """A volume goes to its next host only when its last one has let go of the loop device."""
        deadline = time.monotonic() + FREE_SECONDS
        while holders := [
            other
            for other in hosts.known(self.lab)
            if other != instance_id and volume_id in hosts.attached(self.lab, other)
        ]:
            if time.monotonic() > deadline:
                raise hosts.HostError(
                    f"Volume {volume_id} is still held by {holders[0]}, so {instance_id} waits for it."
                )
            time.sleep(0.1)

    def _report_volume(self, volume_id: str, state: str) -> None:
        with contextlib.suppress(ValueError):
            api.control(self.lab, "PUT", f"volumes/{volume_id}", {"state": state, "reason": ""})

    def _loose_volumes(self) -> None:
        """Volumes that left a host that is gone, and files of volumes that the API does not have any more."""
        known = {volume["VolumeId"] for volume in self.world.volumes}
        for volume in self.world.volumes:
            for attachment in volume.get("Attachments", []):
                gone = not hosts.exists(self.lab, attachment["InstanceId"])
                if attachment["State"] == "detaching" and gone and attachment["InstanceId"] not in self.busy:
                    self._report_volume(volume["VolumeId"], "available")
        used = {v for key in hosts.known(self.lab) for v in hosts.attached(self.lab, key)}
        for file in self.lab.volumes.glob("vol-*.img") if self.lab.volumes.is_dir() else ():
            if file.stem not in known and file.stem not in used:
                volumes.delete(self.lab, file.stem)
                LOG.info("%s deleted", file.stem)

    # Snapshots

    def _snapshots(self) -> None:
        known = {snapshot["SnapshotId"]: snapshot for snapshot in self.world.snapshots}
        for snapshot_id, snapshot in known.items():
            source = self.lab.volume(snapshot.get("VolumeId") or "none")
            if source.exists() and not self.lab.snapshot(snapshot_id).exists():
                self._submit(snapshot_id, self._take_snapshot, snapshot_id)
        for file in self.lab.snapshots.glob("snap-*.img") if self.lab.snapshots.is_dir() else ():
            if file.stem not in known and file.stem not in self.busy:
                file.unlink(missing_ok=True)

    _snapshot_lock = threading.Lock()

    def _take_snapshot(self, snapshot_id: str) -> None:
        snapshot = next((s for s in self.world.snapshots if s["SnapshotId"] == snapshot_id), None)
        with self._snapshot_lock:
            if snapshot and self.lab.volume(snapshot.get("VolumeId") or "none").exists():
                volumes.snapshot(self.lab, snapshot["VolumeId"], snapshot_id)


def run(lab: Lab) -> int:
    """Entry of `lab reconcile`; ends with SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)
    os.umask(0o022)
    reconciler = Reconciler(lab)

    def stop(*_) -> None:
        reconciler.stopping.set()
        reconciler.wake()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    LOG.info("reconciling %s, hosts on disk: %s", lab, json.dumps(hosts.known(lab)))
    reconciler.run()
    return 0
